"""Runs inside a worker's calls: what a call says of the run that `init` opens, and what its answer says of runs.

Nothing here does anything in a process that is no child of a worker. Standard library and ormsgpack only: this runs
inside user processes.
"""

import math
from collections.abc import Mapping
from itertools import islice
from typing import Final, Protocol

from flashtrial.core import env
from flashtrial.process import call_tracking
from flashtrial.process.call_tracking import CallTracking
from flashtrial.protocol.child import RunDefaults, RunNote
from flashtrial.tracking.journal.outbox import journal_path
from flashtrial.tracking.journal.writer import RunWriter
from flashtrial.tracking.runs.delivery import wait_for_delivery

MOST_LAST: Final = 256
_NONE: Final = RunDefaults()


class RunInCall(Protocol):
    """As much of a run as is needed here."""

    @property
    def id(self) -> str: ...

    @property
    def url(self) -> str: ...

    def finish_at_exit(self, error: BaseException | None) -> None: ...


class CallShare:
    """What the calls of this process are told of one run. Threads may share it as they share the run."""

    def __init__(self, run: RunInCall, writer: RunWriter, calls: CallTracking, *, is_guest: bool) -> None:
        self._run = run
        self._writer = writer
        self._calls = calls
        self._is_guest = is_guest
        self._last: dict[str, float] = {}
        calls.touched(self)

    @property
    def run_id(self) -> str:
        return self._run.id

    def logged(self, numbers: Mapping[str, float]) -> None:
        """The run got new values; `numbers` is not kept."""
        self._calls.touched(self)
        self._last.update(numbers)

    def note(self) -> RunNote:
        """How the run stands: at most `MOST_LAST` values, those that were logged first."""
        last = {name: _in_json(value) for name, value in islice(self._last.items(), MOST_LAST)}
        return RunNote(self._run.id, self._run.url, last, self._unsent())

    def end_with_call(self, error: BaseException | None) -> None:
        """A function that ends is to its runs what a program's end is; a guest's failure is the caller's to judge."""
        self._run.finish_at_exit(None if self._is_guest else error)

    def _unsent(self) -> int:
        """Records of this process that no server has confirmed; a journal that is gone was sent to its end."""
        writer = self._writer
        outbox = writer.settings.outbox
        pending = wait_for_delivery(outbox, writer.writer_id, writer.last_seq, 0.0, _nothing_to_see_to).pending
        return pending if journal_path(outbox, writer.writer_id).exists() else 0


def share_of(run: RunInCall, writer: RunWriter, *, is_guest: bool) -> CallShare | None:
    """What the calls of this process are told of `run`; None in a process that is no child of a worker."""
    calls = call_tracking.of_this_process()
    return None if calls is None else CallShare(run, writer, calls, is_guest=is_guest)


def call_defaults() -> RunDefaults:
    """What the call that is under way says of the runs it opens; nothing outside of calls."""
    calls = call_tracking.of_this_process()
    return (calls and calls.defaults) or _NONE


def environment_in_call() -> dict[str, str]:
    """The process's environment, with the call's project in it."""
    project = call_defaults().project
    return {**env.snapshot(), **({env.PROJECT: project} if project else {})}


def _in_json(value: float) -> float | str:
    """`value` as JSON can have it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _nothing_to_see_to() -> None:
    """Nobody waits here."""
