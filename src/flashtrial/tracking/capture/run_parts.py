"""What runs beside a run in its process: what a part is told, what it may use of its run, and which parts there are.

A part (console capture, the system monitor …) is made and started by `init` and closed by `finish`, before the run's
last record is written, so that what a part writes at its end still belongs to the run. `docs/decisions/011` draws it.
Standard library only; a part's own module is loaded when a run is opened, never at import.
"""

import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.settings.resolution import EffectiveSettings

logger = logging.getLogger(__name__)

CLOSE_BUDGET_S = 2.0

# Functions ``(EffectiveSettings) -> Iterable[RunPart]``, by module and name.
_MAKERS: tuple[tuple[str, str], ...] = (("flashtrial.tracking.capture.parts", "capture_parts"),)


class PartHost(Protocol):
    """What a part may use of the run that it belongs to; all of it from any thread."""

    @property
    def id(self) -> str: ...

    @property
    def settings(self) -> EffectiveSettings: ...

    @property
    def is_owner(self) -> bool:
        """Whether this process opened the run: not a guest, nor one that got it by fork or pickling."""
        ...

    @property
    def masks(self) -> Masks:
        """What is a secret in this run."""
        ...

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write one record, also while the run is ending; on the disk when this returns. Raises `JournalClosed`."""
        ...

    def also_wait_for(self, writer_id: str, last_seq: int) -> None:
        """Let `finish` wait for another writer's records as it does for its own; up to the end of `close`."""
        ...


class RunPart(Protocol):
    """Something that runs beside one run in one process. Never started in a fork or in an unpickled run."""

    def start(self, run: PartHost) -> None:
        """Begin. May raise what it likes: the run goes on without the part, and says so."""
        ...

    def close(self, deadline_s: float) -> None:
        """End within `deadline_s` seconds, having written what is left. Calling twice is safe.

        Called on a thread of its own, which nobody waits for longer; at the end of the interpreter on the main one.
        """
        ...

    def renew_after_fork(self) -> None:
        """In the child of a fork: become a part that does nothing, without asking for any lock of the parent's."""
        ...


PartMaker: TypeAlias = Callable[[EffectiveSettings], Iterable[RunPart]]


def parts_for(settings: EffectiveSettings) -> list[RunPart]:
    """The parts, not started yet, that a run with `settings` is to have in the process that opens it."""
    return [part for module, name in _MAKERS for part in _maker(module, name)(settings)]


class RunParts:
    """The parts of one run, as one. Best-effort: what fails is said and counted in `failed`, and ends no run."""

    def __init__(self, parts: Iterable[RunPart] = ()) -> None:
        self._parts = list(parts)
        self.failed = 0

    def start(self, run: PartHost) -> None:
        for part in list(self._parts):
            try:
                part.start(run)
            except Exception:  # noqa: BLE001 - whatever a machine's sensors or streams do: the training is worth more
                self._parts.remove(part)
                self._note_failure(part, "could not start")

    def close(self, deadline_s: float = CLOSE_BUDGET_S) -> None:
        """Close all parts side by side within `deadline_s`. Safe in a signal handler, whatever it interrupted.

        On threads, because a handler may have interrupted its own thread inside a part, with the part's lock held.
        """
        parts, self._parts = self._parts, []
        closers = [(part, self._start_closing(part, deadline_s)) for part in parts]
        ends = time.monotonic() + deadline_s
        for part, closer in closers:
            if closer is not None:
                closer.join(max(ends - time.monotonic(), 0.0))
            if closer is not None and closer.is_alive():
                self._note_failure(part, f"did not close within {deadline_s:g} s")

    def renew_after_fork(self) -> None:
        """In the child of a fork: parts belong to the parent."""
        parts, self._parts = self._parts, []
        for part in parts:
            part.renew_after_fork()

    def _start_closing(self, part: RunPart, deadline_s: float) -> threading.Thread | None:
        closer = threading.Thread(target=self._close, args=(part, deadline_s), name="flashtrial-close", daemon=True)
        try:
            closer.start()
        except RuntimeError:  # the interpreter ends, and from Python 3.12 on starts no thread any more
            self._close(part, deadline_s)
            return None
        return closer

    def _close(self, part: RunPart, deadline_s: float) -> None:
        try:
            part.close(deadline_s)
        except Exception:  # noqa: BLE001 - as in `start`
            self._note_failure(part, "failed while it closed")

    def _note_failure(self, part: RunPart, what: str) -> None:
        self.failed += 1
        error = sys.exception()
        logger.warning("%s %s", type(part).__name__, what, exc_info=error, extra={"action": "run_part_failed"})


def _maker(module: str, name: str) -> PartMaker:
    maker: PartMaker = getattr(importlib.import_module(module), name)
    return maker
