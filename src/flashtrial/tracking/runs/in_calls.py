"""Runs inside a worker's calls: what a call says of the run that `init` opens, and what its answer says of runs.

Nothing here does anything in a process that is no child of a worker. Standard library and ormsgpack only: this runs
inside user processes.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, Protocol

from flashtrial.core import env
from flashtrial.process import call_tracking
from flashtrial.process.call_tracking import CallTracking
from flashtrial.protocol.child import RunDefaults, RunNote
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.journal.writer import RunWriter
from flashtrial.tracking.runs.arrivals import wait_for_delivery
from flashtrial.tracking.runs.places import destinations_of

MOST_LAST: Final = 256
_NONE: Final = RunDefaults()


class RunInCall(Protocol):
    """As much of a run as is needed here."""

    @property
    def id(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def masks(self) -> Masks: ...

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
        run.masks.tell(calls.learned)

    @property
    def run_id(self) -> str:
        return self._run.id

    @property
    def secrets(self) -> Sequence[str]:
        """What the run's configuration hides: the worker, which records what is printed, masks it, too."""
        return self._run.masks.learned

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
        """Records of this process that some destination has not confirmed."""
        writer = self._writer
        writers = {writer.writer_id: writer.last_seq}
        outbox = writer.settings.outbox
        return wait_for_delivery(outbox, writers, destinations_of(writer), 0.0, _nothing_to_see_to).pending


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
