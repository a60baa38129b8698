"""Time, as something that is handed in: wall time for records, monotonic time for durations."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What code that needs time is given, so that a test can move it."""

    def time_ms(self) -> int:
        """Wall time in milliseconds since the epoch; may step back when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never steps back. Only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


def utc_from_ms(time_ms: int) -> datetime:
    """The UTC-aware datetime of a wall time in milliseconds since the epoch."""
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC)
