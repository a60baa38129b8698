"""Whether a run that nobody has ended still lives: told from its writers' heartbeats and records, by our own clock.

Pure. A run that its records say is over is never touched. A live one is interrupted when it has an owner that was heard
by heartbeat, and no owner of it lives; a heartbeat or a record of an owner brings it back. Clients without heartbeats
(JSON, Pluto, MLflow) may be silent for much longer, since they say nothing between two epochs; what is only created may
wait for ever.
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
class Silence:
    """Who was last heard of before these times of our own clock is silent: who sends heartbeats, and who sends none."""

    beating_before_ms: int = 0
    others_before_ms: int = 0


@dataclass(frozen=True, slots=True)
class Owner:
    """A writer that can end the run. `heard_ms` is our own time of its last heartbeat, record or other request."""

    heard_ms: int
    beat: Beat | None = None
    reason: str | None = None
    host: str | None = None

    def lives(self, silence: Silence) -> bool:
        """Whether it is taken to be alive: not said to be gone, and not silent."""
        before_ms = silence.others_before_ms if self.beat is None else silence.beating_before_ms
        return self.beat is not Beat.GONE and self.heard_ms >= before_ms


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands, and why where that is known."""

    status: RunStatus
    reason: str | None


def standing(told: Standing, owners: Sequence[Owner], silence: Silence) -> Standing:
    """How a run stands whose records tell `told`."""
    if told.status.is_finished or not owners or any(owner.lives(silence) for owner in owners):
        return told
    if told.status is RunStatus.CREATED and all(owner.beat is None for owner in owners):
        return told
    return Standing(RunStatus.INTERRUPTED, _why(max(owners, key=lambda owner: owner.heard_ms)))


def _why(owner: Owner) -> str:
    if owner.beat is Beat.GONE:
        return owner.reason or "its process ended without finishing the run"
    since = utc_from_ms(owner.heard_ms).isoformat(timespec="seconds")
    return f"nothing was heard of {owner.host or 'its process'} since {since}"
