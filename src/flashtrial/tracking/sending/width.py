"""How large a request may be, learnt from what something on the way to a destination takes and refuses.

    refused ──▶ half of it from now on ──▶ taken, a minute later ──▶ twice as much ──▶ … ──▶ `REQUEST_BYTES` again

Something may refuse all requests for a while, in the words of one that are too large: so only a record that is larger
than what it is known to take is too large.
"""

from flashtrial.core.clock import Clock
from flashtrial.tracking.sending.settlement import REQUEST_BYTES

WIDEN_AFTER_S = 60.0
SURELY_SMALL_BYTES = 64 * 1024  # any limit that somebody sets on purpose is above


class Width:
    """What one destination is asked to take at once. Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self.request_bytes = REQUEST_BYTES
        self._clock = clock
        self._known_bytes = SURELY_SMALL_BYTES
        self._widen_at = 0.0

    def taken(self, size_bytes: int) -> None:
        """A request of `size_bytes` went through."""
        self._known_bytes = max(self._known_bytes, size_bytes)
        if self.request_bytes < REQUEST_BYTES and self._clock.monotonic() >= self._widen_at:
            self.request_bytes = min(2 * self.request_bytes, REQUEST_BYTES)

    def refused(self, size_bytes: int) -> None:
        """A request of several records, of `size_bytes`, was too large."""
        self.request_bytes = max(size_bytes // 2, 1)
        self._widen_at = self._clock.monotonic() + WIDEN_AFTER_S

    def is_too_large(self, size_bytes: int) -> bool:
        """Whether one record that was refused is to blame itself; if not, the way is not narrow but closed."""
        if size_bytes > self._known_bytes:
            return True
        self._widen_at = self._clock.monotonic()  # what was refused before says nothing of sizes
        return False
