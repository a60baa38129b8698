"""How much of the disk an outbox may take, and what happens when that is used up. Standard library only."""

from dataclasses import dataclass
from enum import StrEnum

from flashtrial.core.errors import ConfigurationError

SEGMENT_BYTES = "FLASHTRIAL_SEGMENT_BYTES"
OUTBOX_BYTES = "FLASHTRIAL_OUTBOX_BYTES"
WHEN_FULL = "FLASHTRIAL_WHEN_FULL"

_MIB = 1024 * 1024
LEAST_SEGMENT_BYTES = 1024
SEGMENTS_AT_LEAST = 8  # what is dropped is dropped from closed segments, so an outbox consists of several


class WhenFull(StrEnum):
    """What becomes of new records when the outbox is full. A state record is always taken.

    `drop`: the oldest system samples go first, then console lines; only when nothing of those is left, new records are
    lost, which is counted and said. `block`: `log` waits for room. `raise`: `log` raises `OutboxFull`.
    """

    DROP = "drop"
    BLOCK = "block"
    RAISE = "raise"


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Bytes of one segment of a journal, and of all journals of an outbox together."""

    segment_bytes: int = 64 * _MIB
    outbox_bytes: int = 10 * 1024 * _MIB
    when_full: WhenFull = WhenFull.DROP

    def __post_init__(self) -> None:
        if self.segment_bytes < LEAST_SEGMENT_BYTES:
            raise ConfigurationError(
                f"segment_bytes ({SEGMENT_BYTES}) is at least {LEAST_SEGMENT_BYTES}, not {self.segment_bytes}"
            )
        if self.outbox_bytes < SEGMENTS_AT_LEAST * LEAST_SEGMENT_BYTES:
            least = SEGMENTS_AT_LEAST * LEAST_SEGMENT_BYTES
            raise ConfigurationError(f"outbox_bytes ({OUTBOX_BYTES}) is at least {least}, not {self.outbox_bytes}")

    @property
    def rotate_at_bytes(self) -> int:
        """The size at which a journal goes on in a new segment."""
        return min(self.segment_bytes, self.outbox_bytes // SEGMENTS_AT_LEAST)


def parse_when_full(said: str, named: str = WHEN_FULL) -> WhenFull:
    """Raises `ConfigurationError`."""
    try:
        return WhenFull(said)
    except ValueError as error:
        raise ConfigurationError(f"{named} is one of {', '.join(WhenFull)}, not {said!r}") from error
