"""Which environments are used, and which have not been for so long that what is kept for them should go. Bookkeeping
only: nothing is ended here.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """For how long what nobody uses is kept ready (seconds), and for how many environments; None: no limit.

    Environments that are used do not count, and are never given up. The base is no environment in this sense: what is
    ready for it stays.
    """

    idle_s: float | None = 900.0
    max_idle: int | None = 4


@dataclass(slots=True)
class _Use:
    users: int
    used_at: float


class EnvironmentUse:
    """The environments that something is kept for, by key. One thread."""

    def __init__(self, limits: KeepLimits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._uses: dict[str, _Use] = {}

    def begin(self, key: str) -> None:
        """Somebody is about to use the environment."""
        self._uses.setdefault(key, _Use(0, 0.0)).users += 1

    def end(self, key: str) -> None:
        """Whoever began is done."""
        use = self._uses[key]
        use.users -= 1
        use.used_at = self._monotonic()

    def is_known(self, key: str) -> bool:
        """Whether it was begun and not taken out since."""
        return key in self._uses

    def taken_out(self, is_busy: Callable[[str], bool]) -> list[str]:
        """Take out, least recently used first, what has been idle for too long, or is one too many.

        `is_busy` tells whether processes of an environment still work; that is a use, too.
        """
        idle = self._idle_by_age(is_busy)
        limits, now = self._limits, self._monotonic()
        excess = 0 if limits.max_idle is None else max(0, len(idle) - limits.max_idle)
        old = [key for key in idle[excess:] if limits.idle_s is not None and self._is_old(key, now - limits.idle_s)]
        for key in (leaving := [*idle[:excess], *old]):
            del self._uses[key]
        return leaving

    def next_look_s(self) -> float | None:
        """Seconds until the first can have been idle for too long; None when none can be."""
        idle = [use.used_at for use in self._uses.values() if not use.users]
        if self._limits.idle_s is None or not idle:
            return None
        return max(0.0, min(idle) + self._limits.idle_s - self._monotonic())

    def _idle_by_age(self, is_busy: Callable[[str], bool]) -> list[str]:
        idle = []
        for key, use in self._uses.items():
            if not use.users and is_busy(key):
                use.used_at = self._monotonic()
            elif not use.users:
                idle.append(key)
        return sorted(idle, key=lambda key: self._uses[key].used_at)

    def _is_old(self, key: str, before: float) -> bool:
        return self._uses[key].used_at <= before
