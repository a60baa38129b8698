"""What one call has to do with runs: where its `flashtrial.init()` goes by default, and which runs it touched.

The seam between the child's host and the tracking client: the host knows nothing of runs, and the client nothing of
calls. It costs a look at an empty map where no run is touched. Runs inside children: standard library only.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from flashtrial.protocol.child import RunDefaults, RunNote

T = TypeVar("T")

logger = logging.getLogger(__name__)


class TrackedRun(Protocol):
    """A run that is (or was) open in this process, as the end of a call sees it."""

    @property
    def run_id(self) -> str: ...

    @property
    def secrets(self) -> Sequence[str]:
        """What its configuration hides."""
        ...

    def note(self) -> RunNote:
        """How the run stands now."""
        ...

    def end_with_call(self, error: BaseException | None) -> None:
        """The function that opened the run is over, because of `error` if there is one. Safe to call twice."""
        ...


class CallTracking:
    """The calls of one child, one at a time. `touched` may come from any thread of the user's."""

    def __init__(self) -> None:
        self.defaults: RunDefaults | None = None
        self._touched: dict[TrackedRun, None] = {}
        self._tell: Callable[[str], None] | None = None
        self._hide: Callable[[Sequence[str]], None] | None = None

    def begin(
        self,
        defaults: RunDefaults | None,
        tell: Callable[[str], None] | None = None,
        hide: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """A call begins; `defaults` are those of its `flashtrial.init()`.

        `tell` gets the id of each run when the call touches it for the first time, in whatever thread did; `hide` the
        secrets of such a run, before that, and those that it has later.
        """
        self.defaults = defaults
        self._tell = tell
        self._hide = hide

    def touched(self, run: TrackedRun) -> None:
        """The call that is under way opened `run` or logged to it."""
        if run not in self._touched:
            self._touched[run] = None
            self.learned(run.secrets)
            tell = self._tell  # the call may end meanwhile
            if tell is not None:
                tell(run.run_id)

    def learned(self, secrets: Sequence[str]) -> None:
        """A run has these secrets; between calls nobody needs to know."""
        hide = self._hide  # the call may end meanwhile
        if secrets and hide is not None:
            hide(secrets)

    def end(self, error: BaseException | None, *, ends_runs: bool) -> tuple[RunNote, ...]:
        """The call is over: how the runs stand that it touched, the newest first.

        With `ends_runs` they end with it. Best effort: what fails is said in the call's output and never changes how
        the call ended.
        """
        self.defaults = self._tell = self._hide = None
        if not self._touched:
            return ()
        runs, self._touched = list(self._touched), {}
        if ends_runs:
            for run in runs:
                _attempt(functools.partial(run.end_with_call, error))
        noted = (_attempt(run.note) for run in reversed(runs))
        return _merged(note for note in noted if note is not None)


def _attempt(act: Callable[[], T]) -> T | None:
    try:
        return act()
    except Exception:  # disks, and whatever user code did to the run: the call's own end counts
        logger.warning("a run could not be looked after at the end of the call", exc_info=True)
        return None


def _merged(notes: Iterable[RunNote]) -> tuple[RunNote, ...]:
    """One note for each run: a run that was opened twice has two writers, and what is unsent of both is unsent."""
    merged: dict[str, RunNote] = {}
    for note in notes:
        newer = merged.get(note.run_id)
        if newer is not None:
            note = RunNote(note.run_id, newer.url, {**note.last, **newer.last}, note.unsent + newer.unsent)  # noqa: PLW2901
        merged[note.run_id] = note
    return tuple(merged.values())


_of_this_process: CallTracking | None = None


def install() -> CallTracking:
    """Make this process one in which calls run."""
    global _of_this_process  # noqa: PLW0603 - one process, one host
    _of_this_process = CallTracking()
    return _of_this_process


def of_this_process() -> CallTracking | None:
    """Where runs say that they were touched; None in a process that is no child of a worker."""
    return _of_this_process
