"""Requests to make a run that come again because nobody heard the answer: they get the run that was made before.

A client that sends a request again has left the connection of the first one, or was told that it failed. So the same
bytes are the same request only where whoever sent them before was gone when the answer was ready, or heard of a fault.
Else they are another request, however alike: the children of a parameter search begin in one instant, and say the same.
In memory: over a restart a repeated request makes another run.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

MOST = 1024

Asking: TypeAlias = Callable[[], Awaitable[bool]]


class FreshRuns:
    """Runs whose makers have not heard of them yet, or never will. On the event loop alone."""

    def __init__(self) -> None:
        self._unheard: OrderedDict[bytes, _Unheard] = OrderedDict()

    async def begin(self, body: bytes, make: Callable[[], str], is_gone: Asking) -> str:
        """The id of the run that this request makes; `is_gone` tells whether its client has left.

        Followed by `end` when the answer is ready.
        """
        digest = hashlib.sha256(body).digest()
        before = self._unheard.pop(digest, None)
        run_id = before.run_id if before is not None and await before.is_gone() else make()
        self._unheard[digest] = _Unheard(run_id, is_gone)
        if len(self._unheard) > MOST:
            self._unheard.popitem(last=False)
        return run_id

    async def end(self, body: bytes, run_id: str, *, is_good: bool) -> None:
        """The answer is ready; with `is_good` it tells of the run, without it of a fault."""
        digest = hashlib.sha256(body).digest()
        mine = self._unheard.get(digest)
        if mine is None or mine.run_id != run_id:
            return
        if not is_good:
            mine.is_gone = _yes
        elif not await mine.is_gone():
            self._unheard.pop(digest, None)


@dataclass(slots=True)
class _Unheard:
    run_id: str
    is_gone: Asking


async def _yes() -> bool:
    return True
