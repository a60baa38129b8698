"""What the parent knows of one child: pure bookkeeping, driven by events.

Every call that is begun gets exactly one outcome, whatever is heard in whatever order. The shell around it (`child`)
does the input and output.

::

    IDLE ── begun ──▶ BUSY ── asked_to_end ──▶ ENDING
      ▲                └────── heard ◀───────────┘ │
      ├── a second answer: WORN
      ├── an answer; a function child that was asked to end, or left something behind, is WORN instead
      └── died ──▶ GONE ◀── died ── any
"""

from collections import deque
from dataclasses import replace
from enum import StrEnum

from flashtrial.process.outcome import Died, Ending, Outcome, Raised, Returned, TimedOut
from flashtrial.protocol import child as wire


class Phase(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    ENDING = "ending"
    WORN = "worn"
    GONE = "gone"

    @property
    def takes_calls(self) -> bool:
        """Whether a call may begin now."""
        return self is Phase.IDLE

    @property
    def in_call(self) -> bool:
        """Whether a call is under way, wanted or not."""
        return self in (Phase.BUSY, Phase.ENDING)


class NotIdle(RuntimeError):
    """Raised when a call is begun in a child that cannot take one; our bug, never the user's."""


class Conversation:
    """The calls of one child, one at a time. `story` tells the moves so far, for error messages."""

    def __init__(self, *, holds_instance: bool) -> None:
        self.phase = Phase.IDLE
        self.constructed = False
        self._holds_instance = holds_instance
        self._call_id: str | None = None
        self._ending: Ending | None = None
        self._moves: deque[tuple[Phase, Phase, str]] = deque(maxlen=20)

    @property
    def story(self) -> list[str]:
        return [f"{before}→{after}({why})" for before, after, why in self._moves]

    def begun(self, call_id: str) -> None:
        """A call was sent. Raises `NotIdle`."""
        if not self.phase.takes_calls:
            raise NotIdle(f"call {call_id} for a child that is {self.phase}: {' '.join(self.story[-10:])}")
        self._call_id = call_id
        self._ending = None
        self._move(Phase.BUSY, call_id)

    def concerns(self, call_id: str) -> bool:
        """Whether `call_id` is the call that is under way."""
        return self.phase.in_call and call_id == self._call_id

    def heard(self, event: wire.Returned | wire.Raised, value: bytes | memoryview) -> Outcome | None:
        """The child answered; the call's outcome, or None when this is not about the call that is under way.

        A value that came although the call was asked to end is the outcome all the same.
        """
        if not self.concerns(event.call_id):
            if self.phase is Phase.IDLE:  # a call is answered once: user code answered it before
                self._move(Phase.WORN, event.call_id)
            return None
        spent = not event.clean or self._ending is not None
        self._move(Phase.WORN if spent and not self._holds_instance else Phase.IDLE, event.call_id)
        if isinstance(event, wire.Returned):
            self.constructed = self._holds_instance
            return Returned(value, event.runs)
        self.constructed = event.constructed
        if isinstance(self._ending, TimedOut):
            return replace(self._ending, runs=event.runs)
        return self._ending or Raised(event.blame, event.message, event.runs)

    def asked_to_end(self, ending: Ending) -> bool:
        """The caller wants no answer any more; whether there is a call to end. The first reason stays."""
        if self.phase is Phase.BUSY:
            self._ending = ending
            self._move(Phase.ENDING, type(ending).__name__)
        return self.phase.in_call

    def died(self, exit_code: int | None) -> Outcome | None:
        """The child is gone; the outcome of the call that was under way, if one was."""
        was_in_call = self.phase.in_call
        self._move(Phase.GONE, str(exit_code))
        return (self._ending or Died(exit_code)) if was_in_call else None

    def _move(self, to: Phase, why: str) -> None:
        self._moves.append((self.phase, to, why))
        self.phase = to
