"""How often each client may ask: a bucket of tokens that fills steadily.

Own code, because it is forty lines: the libraries for it bring storages, threads or decorators of one framework.
"""

from collections import OrderedDict

from flashtrial.core.clock import Clock

MAX_CLIENTS = 10_000
_ROUNDING_S = 1e-6


class Rates:
    """Lets each client send `per_s` requests a second in the long run and `burst` at once; 0 a second is no limit.

    Lives on the event loop. The 10,000 clients that asked last are remembered; a forgotten one starts full.
    """

    def __init__(self, clock: Clock, per_s: float, burst: float) -> None:
        self._clock = clock
        self._per_s = per_s
        self._burst = burst
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when the client's bucket will be full again

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._full_at)

    def wait_s(self, client: str) -> float:
        """0.0 when `client` may go on, and that is counted; else the seconds until it may."""
        if not self._per_s:
            return 0.0
        now = self._clock.monotonic()
        full_at = max(self._full_at.get(client, now), now) + 1 / self._per_s
        wait_s = full_at - now - self._burst / self._per_s
        if wait_s > _ROUNDING_S:
            return wait_s
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > MAX_CLIENTS:
            self._full_at.popitem(last=False)
        return 0.0
