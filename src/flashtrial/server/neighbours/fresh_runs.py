"""Requests to make a run that come again because nobody heard the answer: they get the run that was made before.

A client that sends a request again has left the connection of the first one, or was told that it failed. So the same
bytes are the same request only where whoever sent them before was gone when the answer was ready, or heard of a fault.
Else they are another request, however alike: the children of a parameter search begin in one instant, and say the same.
So is what comes when nobody sends the first one again any more, or when its run was deleted meanwhile.
In memory: over a restart a repeated request makes another run.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from flashtrial.core.clock import Clock, SystemClock

MOST = 1024
SENT_AGAIN_WITHIN_S = 600.0  # a client that is not back by then is not coming

Asking: TypeAlias = Callable[[], Awaitable[bool]]
AskingOfRun: TypeAlias = Callable[[str], Awaitable[bool]]


class FreshRuns:
    """Runs whose makers have not heard of them yet, or never will. On the event loop alone."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._unheard: OrderedDict[bytes, _Unheard] = OrderedDict()  # by time

    async def begin(self, body: bytes, make: Callable[[], str], is_gone: Asking, is_deleted: AskingOfRun) -> str:
        """The id of the run that this request makes; `is_gone` tells whether its client has left.

        `is_deleted` tells of the run of a request before it. Followed by `end`, whatever happens.
        """
        digest = hashlib.sha256(body).digest()
        self._forget_old()
        before = self._unheard.pop(digest, None)
        is_again = before is not None and await before.is_gone() and not await is_deleted(before.run_id)
        run_id = before.run_id if before is not None and is_again else make()
        self._unheard[digest] = _Unheard(run_id, is_gone, self._clock.monotonic())
        if len(self._unheard) > MOST:
            self._unheard.popitem(last=False)
        return run_id

    async def end(self, body: bytes, run_id: str, *, is_good: bool) -> None:
        """The answer is ready; with `is_good` it tells of the run, without it of a fault.

        The client is not asked after again.
        """
        digest = hashlib.sha256(body).digest()
        mine = self._unheard.get(digest)
        if mine is None or mine.run_id != run_id:
            return
        if is_good and not await mine.is_gone():
            self._unheard.pop(digest, None)
        else:
            mine.is_gone = _yes  # and the request, with all that it holds, is let go

    def _forget_old(self) -> None:
        since = self._clock.monotonic() - SENT_AGAIN_WITHIN_S
        while self._unheard and next(iter(self._unheard.values())).begun_s < since:
            self._unheard.popitem(last=False)


@dataclass(slots=True)
class _Unheard:
    run_id: str
    is_gone: Asking
    begun_s: float


async def _yes() -> bool:
    return True
