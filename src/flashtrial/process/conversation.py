"""What the parent knows of one child: pure bookkeeping, driven by events.

Every call that is begun gets exactly one outcome, whatever is heard in whatever order. The shell around it (`child`)
does the input and output.

::

    IDLE ── begun ──▶ BUSY ── heard Returned | Raised ──▶ IDLE (or WORN, when the call left something behind)
      │                 └──── given up ──▶ DOOMED
      └── died ──▶ GONE ◀── died ── any
"""

from enum import StrEnum

from flashtrial.process.outcome import Cancelled, Died, Outcome, Raised, Returned, TimedOut
from flashtrial.protocol import child as wire


class Phase(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    WORN = "worn"
    DOOMED = "doomed"
    GONE = "gone"

    @property
    def takes_calls(self) -> bool:
        """Whether a call may begin now."""
        return self is Phase.IDLE


class NotIdle(RuntimeError):
    """Raised when a call is begun in a child that cannot take one; our bug, never the user's."""


class Conversation:
    """The calls of one child, one at a time. `story` tells the moves so far, for error messages."""

    def __init__(self, *, holds_instance: bool) -> None:
        self.phase = Phase.IDLE
        self.constructed = False
        self._holds_instance = holds_instance
        self._call_id: str | None = None
        self.story: list[str] = []

    def begun(self, call_id: str) -> None:
        """A call was sent. Raises `NotIdle`."""
        if not self.phase.takes_calls:
            raise NotIdle(f"call {call_id} for a child that is {self.phase}: {' '.join(self.story[-10:])}")
        self._call_id = call_id
        self._move(Phase.BUSY, call_id)

    def heard(self, event: wire.Returned | wire.Raised, value: bytes) -> Outcome | None:
        """The child answered; the call's outcome, or None when this is not about the call that is under way."""
        if self.phase is not Phase.BUSY or event.call_id != self._call_id:
            return None
        worn = not event.clean and not self._holds_instance
        self._move(Phase.WORN if worn else Phase.IDLE, event.call_id)
        if isinstance(event, wire.Returned):
            self.constructed = self._holds_instance
            return Returned(value)
        self.constructed = event.constructed
        return Raised(event.blame, event.message)

    def given_up(self, outcome: TimedOut | Cancelled) -> Outcome | None:
        """The caller wants no answer any more; the child must be ended. None when it had one already."""
        if self.phase is not Phase.BUSY:
            return None
        self._move(Phase.DOOMED, outcome.__class__.__name__)
        return outcome

    def died(self, exit_code: int | None) -> Outcome | None:
        """The child is gone; the outcome of the call that was under way, if one was."""
        was_busy = self.phase is Phase.BUSY
        self._move(Phase.GONE, str(exit_code))
        return Died(exit_code) if was_busy else None

    def _move(self, to: Phase, why: str) -> None:
        self.story.append(f"{self.phase}→{to}({why})")
        del self.story[:-20]
        self.phase = to
