"""Waiting after failures."""

import random

from flashtrial.core.clock import Clock
from flashtrial.core.retry import full_jitter_s


class Backoff:
    """When the destination may be asked again after failures, by the monotonic clock."""

    def __init__(self, clock: Clock, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._not_before = 0.0

    @property
    def is_waiting(self) -> bool:
        return self._failures > 0 and self._clock.monotonic() < self._not_before

    @property
    def left_s(self) -> float:
        """How long it is until then; 0 when nothing failed."""
        return max(self._not_before - self._clock.monotonic(), 0.0) if self._failures else 0.0

    def failed(self, retry_after_s: float | None) -> None:
        """Wait as long as the destination asked for, else with full jitter up to 30 s."""
        wait_s = full_jitter_s(self._failures, rng=self._rng) if retry_after_s is None else retry_after_s
        self._failures += 1
        self._not_before = self._clock.monotonic() + wait_s

    def reset(self) -> None:
        self._failures = 0
