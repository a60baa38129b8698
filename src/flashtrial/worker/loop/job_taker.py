"""Takes jobs from the platform: one poll at a time, and only while a slot is free.

What waits at the platform is there for idle workers, so a worker asks for no job that it could not begin at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeAlias

from flashtrial.core.retry import full_jitter_s
from flashtrial.worker.loop.drain import Drain
from flashtrial.worker.loop.job_slots import JobSlots

Job: TypeAlias = Mapping[str, Any]
Poll: TypeAlias = Callable[[], Awaitable[Sequence[Job] | None]]

LONGEST_BACKOFF_S: Final = 5.0
# A platform that does not hold its polls is asked no more often than this.
_EMPTY_POLL_S: Final = 0.1

logger = logging.getLogger(__name__)


class PauseWanted(Exception):
    """Raised by a poll when the platform asks to be left alone for `pause_s` seconds."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(f"the platform asks for a pause of {pause_s:g} s")
        self.pause_s = pause_s


class JobTaker:
    """The taking loop of one worker. `begin` starts a job and returns at once; it owns the slot from then on."""

    def __init__(self, poll: Poll, begin: Callable[[Job], None], slots: JobSlots, drain: Drain) -> None:
        self._poll = poll
        self._begin = begin
        self._slots = slots
        self._drain = drain

    async def run(self) -> None:
        """Take jobs until the drain begins. When this returns, no poll is open that could deliver another."""
        failures = 0
        while await self._may_take():
            pause_s = 0.0
            began_s = asyncio.get_running_loop().time()
            try:
                jobs = await self._open_poll()
                failures = 0
                if not jobs and asyncio.get_running_loop().time() - began_s < _EMPTY_POLL_S:
                    pause_s = _EMPTY_POLL_S
            except PauseWanted as wanted:
                jobs, pause_s = (), wanted.pause_s
            except Exception as error:  # noqa: BLE001 - whatever a poll met, the worker's life is to ask again
                jobs, pause_s = (), full_jitter_s(failures, cap_s=LONGEST_BACKOFF_S)
                failures += 1
                _say_failed(error, failures)
            for job in jobs:
                self._take(job)
            await self._pause(pause_s)

    async def _may_take(self) -> bool:
        await first_of(self._slots.free(), self._drain.no_more_jobs.wait())
        return not self._drain.no_more_jobs.is_set()

    async def _open_poll(self) -> Sequence[Job]:
        """What the poll delivers, also after the drain began: the platform takes that for handed out."""
        poll = asyncio.ensure_future(self._poll())
        try:
            await first_of(asyncio.wait({poll}), self._drain.calls_must_end.wait())
            return (await poll or ()) if poll.done() else ()
        finally:
            poll.cancel()

    def _take(self, job: Job) -> None:
        if self._slots.take(job["id"]):
            self._begin(job)
        else:
            logger.info("job %s came again while it runs", job["id"], extra={"action": "job_joined"})

    async def _pause(self, pause_s: float) -> None:
        if pause_s:
            await first_of(asyncio.sleep(pause_s), self._drain.no_more_jobs.wait())


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first of `waits` does; the others are cancelled. What they raise is theirs."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _say_failed(error: Exception, failures: int) -> None:
    if failures & (failures - 1) == 0:  # the first, second, fourth, eighth …
        logger.warning(
            "asking for a job failed (%d in a row): %s: %s",
            failures,
            type(error).__name__,
            error,
            extra={"action": "poll_failed"},
        )
