"""Taking jobs: when a poll is opened, and what becomes of what it delivers."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from flashtrial.worker.loop.drain import Drain
from flashtrial.worker.loop.job_slots import JobSlots
from flashtrial.worker.loop.job_taker import Job, JobTaker, PauseWanted
from testkit.waiting import wait_until_async


class ScriptedPolls:
    """Polls that are answered when the test says so."""

    def __init__(self) -> None:
        self.open: list[asyncio.Future[Sequence[Job] | None]] = []
        self.count = 0

    async def __call__(self) -> Sequence[Job] | None:
        answer: asyncio.Future[Sequence[Job] | None] = asyncio.get_running_loop().create_future()
        self.open.append(answer)
        self.count += 1
        try:
            return await answer
        finally:
            self.open.remove(answer)

    async def opened(self, count: int) -> asyncio.Future[Sequence[Job] | None]:
        await wait_until_async(lambda: self.open and self.count >= count, what=f"poll {count}")
        return self.open[-1]


class Desk:
    """A taker at work, with one slot."""

    def __init__(self, slots: int = 1) -> None:
        self.polls = ScriptedPolls()
        self.slots = JobSlots(slots)
        self.drain = Drain(3600.0)
        self.begun: list[str] = []
        taker = JobTaker(self.polls, lambda job: self.begun.append(job["id"]), self.slots, self.drain)
        self.running = asyncio.create_task(taker.run())


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    made.running.cancel()
    await asyncio.gather(made.running, return_exceptions=True)


async def settle() -> None:
    """Let everything happen that can happen now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_no_poll_is_open_while_every_slot_is_taken(desk: Desk) -> None:
    (await desk.polls.opened(1)).set_result([{"id": "a", "input": {}}])
    await wait_until_async(lambda: desk.begun == ["a"])
    await settle()
    assert desk.polls.open == []
    desk.slots.call_ended("a")
    await desk.polls.opened(2)


async def test_the_next_poll_needs_no_pause() -> None:
    desk = Desk(slots=3)
    for number in range(3):
        (await desk.polls.opened(number + 1)).set_result([{"id": str(number), "input": {}}])
    await wait_until_async(lambda: desk.begun == ["0", "1", "2"])
    await settle()
    assert desk.polls.open == []
    desk.running.cancel()


async def test_what_a_poll_delivers_after_the_drain_began_is_begun(desk: Desk) -> None:
    poll = await desk.polls.opened(1)
    desk.drain.begin()
    await settle()
    assert not desk.running.done()
    poll.set_result([{"id": "late", "input": {}}])
    await asyncio.wait_for(desk.running, 10)
    assert desk.begun == ["late"]
    assert desk.polls.count == 1


async def test_a_poll_that_brings_nothing_is_given_up_when_calls_must_end(desk: Desk) -> None:
    await desk.polls.opened(1)
    desk.drain.begin()
    desk.drain.calls_must_end.set()
    await asyncio.wait_for(desk.running, 10)
    await wait_until_async(lambda: desk.polls.open == [])


async def test_a_worker_without_a_free_slot_stops_taking_at_once(desk: Desk) -> None:
    (await desk.polls.opened(1)).set_result([{"id": "a", "input": {}}])
    await wait_until_async(lambda: desk.begun == ["a"])
    desk.drain.take_no_more()
    await asyncio.wait_for(desk.running, 10)
    assert desk.polls.count == 1


@pytest.mark.parametrize("error", [OSError("reset"), ValueError("not JSON"), RecursionError(), PauseWanted(0.001)])
async def test_a_poll_that_fails_is_followed_by_another(desk: Desk, error: Exception) -> None:
    (await desk.polls.opened(1)).set_exception(error)
    (await desk.polls.opened(2)).set_result([{"id": "a", "input": {}}])
    await wait_until_async(lambda: desk.begun == ["a"])


async def test_a_pause_ends_when_the_drain_begins(desk: Desk) -> None:
    (await desk.polls.opened(1)).set_exception(PauseWanted(3600))
    await settle()
    desk.drain.begin()
    await asyncio.wait_for(desk.running, 10)


async def test_a_job_that_is_in_hand_is_not_begun_again() -> None:
    desk = Desk(slots=2)
    (await desk.polls.opened(1)).set_result([{"id": "a", "input": {}}])
    (await desk.polls.opened(2)).set_result([{"id": "a", "input": {}}])
    await desk.polls.opened(3)
    assert desk.begun == ["a"]
    desk.running.cancel()
