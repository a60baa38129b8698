"""How many jobs a worker has in hand: calls that run, and answers that are on their way."""

import asyncio
from typing import Final

_IN_HAND_PER_SLOT: Final = 2


class JobSlots:
    """A slot is a running call: it is free again when the call has ended, not when its answer has arrived.

    Answers that do not get through count too: at most twice as many jobs as slots are in hand. One event loop.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._running: set[str] = set()
        self._in_hand: set[str] = set()
        self._free = asyncio.Event()
        self._free.set()

    @property
    def in_hand(self) -> frozenset[str]:
        """Jobs whose answers the platform does not have yet."""
        return frozenset(self._in_hand)

    async def free(self) -> None:
        """Return when a job may be taken."""
        await self._free.wait()

    def take(self, job_id: str) -> bool:
        """Put the job into a slot; false when it is in hand already, and nothing changes."""
        if job_id in self._in_hand:
            return False
        self._running.add(job_id)
        self._in_hand.add(job_id)
        self._look()
        return True

    def call_ended(self, job_id: str) -> None:
        """The job's call runs no more. Safe to call twice."""
        self._running.discard(job_id)
        self._look()

    def give_back(self, job_id: str) -> None:
        """The job is done with, whatever became of it. Safe to call twice."""
        self._in_hand.discard(job_id)
        self.call_ended(job_id)

    def _look(self) -> None:
        if len(self._running) < self.count and len(self._in_hand) < _IN_HAND_PER_SLOT * self.count:
            self._free.set()
        else:
            self._free.clear()
