"""When a worker is to leave, and how far it has come with that. Belongs to one event loop."""

import asyncio
import math
from typing import Final

# Ending a call takes up to a second, its answer a request; what comes after that is for slow networks.
_TO_ANSWER_S: Final = 3.0


class Drain:
    """What a worker that was told to leave still does: nothing new, calls to their end or to `calls_must_end`, answers.

    `begun` means that there is a time at which the process must be gone, `grace_s` seconds after it was told.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.no_more_jobs = asyncio.Event()
        self.begun = asyncio.Event()
        self.calls_must_end = asyncio.Event()
        self._deadline_s = math.inf

    def take_no_more(self) -> None:
        """Finish what is in hand, for as long as that takes, and leave."""
        self.no_more_jobs.set()

    def begin(self) -> None:
        """The platform wants the process gone `grace_s` seconds from now. A second call changes nothing."""
        if self.begun.is_set():
            return
        self.take_no_more()
        self.begun.set()
        loop = asyncio.get_running_loop()
        self._deadline_s = loop.time() + self.grace_s
        loop.call_later(self.grace_s - min(_TO_ANSWER_S, self.grace_s / 3), self.calls_must_end.set)

    def left_s(self, until_s: float = math.inf) -> float:
        """Seconds from now until the end, or until `until_s` (the loop's time) if that is sooner; may be negative."""
        return min(until_s, self._deadline_s) - asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Sleep; the beginning of the drain wakes up who sleeps then."""
        if self.begun.is_set():
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self.begun.wait()
        except TimeoutError:
            return
