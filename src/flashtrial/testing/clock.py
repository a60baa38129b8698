"""A clock that a test moves."""


class FakeClock:
    """Stands still until `advance`; wall time may be set back by `set_time_ms`, monotonic time never."""

    def __init__(self, time_ms: int = 1_700_000_000_000) -> None:
        self._time_ms = time_ms
        self._monotonic = 1000.0

    def time_ms(self) -> int:
        return self._time_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._monotonic += seconds
        self._time_ms += round(seconds * 1000)

    def set_time_ms(self, time_ms: int) -> None:
        """Set the wall clock as an administrator does; durations do not notice."""
        self._time_ms = time_ms
