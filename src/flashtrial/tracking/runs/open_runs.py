"""The runs that this process has open: the newest for module-level calls, all of them at exit, at SIGTERM and in forks.

Nothing is registered at import; the first run registers the hooks.
"""

import atexit
import os
from typing import Generic, Protocol, TypeVar

from flashtrial.core.errors import FlashtrialError
from flashtrial.tracking.runs.exits import ExitWatch
from flashtrial.tracking.runs.terminations import TermWatch


class NoActiveRun(FlashtrialError):
    """Raised when no run is open in this process; call flashtrial.init() first."""


class OpenRun(Protocol):
    """What the hooks need of a run."""

    def finish_at_exit(self, error: BaseException | None) -> None:
        """The interpreter ends, because of `error` if there is one."""
        ...

    def mark_terminated(self, *, is_dying: bool) -> None:
        """SIGTERM came; where nobody handles it this process dies next. May be called in a signal handler."""
        ...

    def renew_after_fork(self) -> None:
        """This process is a fresh fork of the one that opened the run."""
        ...


R = TypeVar("R", bound=OpenRun)


class OpenRuns(Generic[R]):
    """Open runs in the order they were opened. Appending and removing are atomic, so no lock is there to be forked."""

    def __init__(self) -> None:
        self._runs: list[R] = []
        self._last: R | None = None  # of those that are open no more
        self._is_hooked = False
        self._exits = ExitWatch()
        self._terminations = TermWatch(self._mark_all_terminated)

    def add(self, run: R, *, minds_signals: bool = True) -> None:
        """`minds_signals`: SIGTERM is to be told to this process's runs from now on."""
        self._runs.append(run)
        if not self._is_hooked:
            self._is_hooked = True
            self._exits.start()
            atexit.register(self._finish_all)
            forks = self._terminations
            os.register_at_fork(before=forks.hold, after_in_parent=forks.release, after_in_child=self._renew_all)
        if minds_signals:
            self._terminations.start()

    def discard(self, run: R) -> None:
        if run in self._runs:
            self._runs.remove(run)
            self._last = run
        if not self._runs:
            self._terminations.stop()

    def all(self) -> list[R]:
        """Those that are open now, the oldest first; the list is the caller's."""
        return list(self._runs)

    def newest(self, *, or_last: bool = False) -> R:
        """With `or_last` the one that ended last, when none is open. Raises `NoActiveRun`."""
        if self._runs:
            return self._runs[-1]
        if or_last and self._last is not None:
            return self._last
        raise NoActiveRun(
            "no run is open in this process: call flashtrial.init() first, or hand it the Run of the process that did"
        )

    def _finish_all(self) -> None:
        error = self._exits.error()
        for run in reversed(list(self._runs)):
            run.finish_at_exit(error)

    def _mark_all_terminated(self, is_dying: bool) -> None:
        for run in list(self._runs):
            run.mark_terminated(is_dying=is_dying)

    def _renew_all(self) -> None:
        self._terminations.stop()  # a fork ends no run: its SIGTERM is what it would be without us
        self._terminations.release()
        for run in list(self._runs):
            run.renew_after_fork()
