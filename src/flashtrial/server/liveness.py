"""Whether a run that nobody has ended still lives: told from its writers' heartbeats and records, by our own clock.

Pure. A run that its records say is over is never touched. A live one is interrupted when it has an owner that was heard
by heartbeat, and no owner of it lives; a heartbeat or a record of an owner brings it back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from flashtrial.core.clock import utc_from_ms
from flashtrial.protocol.trials import RunStatus


class Role(StrEnum):
    """What a writer is to its run: it can end it, it is one of several, or it is a fork or an unpickled copy."""

    OWNER = "owner"
    GUEST = "guest"
    JOINED = "joined"


class Beat(StrEnum):
    """What the last heartbeat said of a writer."""

    ALIVE = "alive"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Owner:
    """A writer that can end the run. `heard_ms` is our own time of its last heartbeat or record."""

    heard_ms: int
    beat: Beat | None = None
    reason: str | None = None
    host: str | None = None

    def lives(self, deaf_before_ms: int) -> bool:
        """Whether it is taken to be alive: never said to be gone, and heard of since then."""
        return self.beat is not Beat.GONE and self.heard_ms >= deaf_before_ms


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands, and why where that is known."""

    status: RunStatus
    reason: str | None


def standing(told: Standing, owners: Sequence[Owner], deaf_before_ms: int) -> Standing:
    """How a run stands whose records tell `told`. Silence begins with what was last heard before `deaf_before_ms`."""
    beating = [owner for owner in owners if owner.beat is not None]
    if told.status.is_finished or not beating or any(owner.lives(deaf_before_ms) for owner in owners):
        return told
    last = max(beating, key=lambda owner: owner.heard_ms)
    return Standing(RunStatus.INTERRUPTED, _why(last))


def _why(owner: Owner) -> str:
    if owner.beat is Beat.GONE:
        return owner.reason or "its process ended without finishing the run"
    since = utc_from_ms(owner.heard_ms).isoformat(timespec="seconds")
    return f"nothing was heard of {owner.host or 'its process'} since {since}"
