"""Who waits for what in the queue, and when they are told; real database thread, no server and no workers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flashtrial.local_runpod.bell import Bell
from flashtrial.local_runpod.database import Database
from flashtrial.local_runpod.envelope import JobReport, JobRequest
from flashtrial.local_runpod.errors import StorageFailed
from flashtrial.local_runpod.jobs import Job, JobStatus, worker_lost
from flashtrial.local_runpod.queue import MISSING_AFTER_MS, JobQueue

pytestmark = pytest.mark.integration

LONG_S = 20.0
DONE = JobReport(b"1", None, is_progress=False, stops_pod=False)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def queue(tmp_path: Path, clock: HandClock) -> AsyncIterator[JobQueue]:
    database = Database(tmp_path / "queue.db")
    queue = JobQueue(database, Bell(), clock)
    await database.start()
    queue.admit("w", "e", room=2)
    yield queue
    await queue.close()
    await database.stop()


async def submit(queue: JobQueue, **limits: int) -> str:
    return (await queue.submit("e", JobRequest(b"{}", **limits))).id


async def status(queue: JobQueue, job_id: str) -> Job:
    job = await queue.job("e", job_id)
    assert job is not None
    return job


async def begun(awaitable: asyncio.Task[object]) -> None:
    """Give a task that waits for something the time to reach the point where it waits."""
    await asyncio.wait({awaitable}, timeout=0.05)


async def test_a_question_that_comes_after_the_end_is_told_to_come_again(tmp_path: Path, clock: HandClock) -> None:
    database = Database(tmp_path / "stopped.db")
    queue = JobQueue(database, Bell(), clock)
    await database.start()
    await database.stop()
    with pytest.raises(StorageFailed, match="is stopping") as refusal:
        await submit(queue)
    assert refusal.value.status == 503


async def test_a_take_that_waits_gets_the_next_job(queue: JobQueue) -> None:
    take = asyncio.create_task(queue.take("w", 5, LONG_S))
    await begun(take)
    job_id = await submit(queue)
    assert [job.id for job in await take] == [job_id]


async def test_a_worker_never_has_more_than_its_room(queue: JobQueue) -> None:
    for _ in range(3):
        await submit(queue)
    first = await queue.take("w", 5, 0)
    assert len(first) == 2
    assert await queue.take("w", 5, 0) == []
    third = asyncio.create_task(queue.take("w", 5, LONG_S))
    await begun(third)
    await queue.finish("w", first[0].id, DONE)
    assert len(await third) == 1


async def test_jobs_of_another_endpoint_are_not_handed_out(queue: JobQueue) -> None:
    await queue.submit("other", JobRequest(b"{}"))
    assert await queue.take("w", 5, 0) == []


async def test_one_that_waits_for_the_end_learns_of_it(queue: JobQueue) -> None:
    job_id = await submit(queue)
    await queue.take("w", 1, 0)
    waiting = asyncio.create_task(queue.job("e", job_id, LONG_S))
    await begun(waiting)
    await queue.finish("w", job_id, DONE)
    job = await waiting
    assert job is not None
    assert job.status is JobStatus.COMPLETED


async def test_a_dismissed_workers_polls_are_answered_with_nothing(queue: JobQueue) -> None:
    take = asyncio.create_task(queue.take("w", 1, LONG_S))
    stop = asyncio.create_task(queue.stop_signals("w", LONG_S))
    await begun(take)
    queue.dismiss("w")
    assert list(await take) == []
    assert list(await stop) == []
    await submit(queue)
    assert list(await queue.take("w", 1, LONG_S)) == []


async def test_clients_learn_what_workers_hand_in_while_they_leave(queue: JobQueue) -> None:
    job_id = await submit(queue)
    await queue.take("w", 1, 0)
    waiting = asyncio.create_task(queue.job("e", job_id, LONG_S))
    await begun(waiting)
    queue.dismiss_workers()
    await begun(waiting)
    assert not waiting.done(), "there is nothing to tell yet"
    await queue.finish("w", job_id, DONE)
    assert (job := await waiting) is not None
    assert job.status is JobStatus.COMPLETED


async def test_everybody_is_answered_when_the_end_is_near(queue: JobQueue) -> None:
    job_id = await submit(queue)
    waiting = asyncio.create_task(queue.job("e", job_id, LONG_S))
    streaming = asyncio.create_task(queue.chunks("e", job_id, LONG_S))
    await begun(waiting)
    queue.dismiss_all()
    assert (job := await waiting) is not None
    assert job.status is JobStatus.IN_QUEUE
    assert await streaming is not None


async def test_a_cancel_reaches_the_holder_once(queue: JobQueue) -> None:
    job_id = await submit(queue)
    await queue.take("w", 1, 0)
    stop = asyncio.create_task(queue.stop_signals("w", LONG_S))
    await begun(stop)
    await queue.cancel("e", job_id)
    assert await stop == [job_id]
    assert await queue.stop_signals("w", 0) == []


async def test_a_stop_signal_that_was_lost_is_given_again_while_the_worker_names_the_job(queue: JobQueue) -> None:
    job_id = await submit(queue)
    await queue.take("w", 1, 0)
    await queue.cancel("e", job_id)
    assert await queue.stop_signals("w", 0) == [job_id]
    await queue.compare("w", [job_id])
    assert await queue.stop_signals("w", 0) == [job_id]


async def test_a_job_that_its_worker_no_longer_names_is_failed(queue: JobQueue, clock: HandClock) -> None:
    kept, dropped = await submit(queue), await submit(queue)
    await queue.take("w", 2, 0)
    await queue.compare("w", [])  # just handed out: the worker may not have it yet
    clock.now_ms += MISSING_AFTER_MS + 1
    await queue.compare("w", [kept])
    assert (await status(queue, dropped)).status is JobStatus.IN_PROGRESS
    await queue.compare("w", [kept])
    assert (await status(queue, dropped)).status is JobStatus.FAILED
    assert "no answer" in ((await status(queue, dropped)).error or "")
    assert (await status(queue, kept)).status is JobStatus.IN_PROGRESS


async def test_a_timeout_ends_the_job_and_tells_its_worker(queue: JobQueue) -> None:
    job_id = await submit(queue, execution_timeout_ms=20)
    await queue.take("w", 1, 0)
    assert await queue.stop_signals("w", LONG_S) == [job_id]
    assert (await status(queue, job_id)).status is JobStatus.FAILED


async def test_a_timeout_of_an_earlier_attempt_does_not_end_the_next(queue: JobQueue) -> None:
    job_id = await submit(queue, execution_timeout_ms=30_000)
    await queue.take("w", 1, 0)
    await queue.finish("w", job_id, JobReport(None, "broken", is_progress=False, stops_pod=False))
    assert await queue.retry("e", job_id)
    await queue.take("w", 1, 0)
    assert (await status(queue, job_id)).status is JobStatus.IN_PROGRESS


async def test_jobs_of_a_lost_worker_end_with_it_even_when_it_was_just_taking_them(queue: JobQueue) -> None:
    job_id = await submit(queue)
    take = asyncio.create_task(queue.take("w", 1, LONG_S))
    lose = asyncio.create_task(queue.lose("w", worker_lost("gone")))
    await asyncio.gather(take, lose)
    job = await status(queue, job_id)
    assert job.status is not JobStatus.IN_PROGRESS


async def test_what_waited_too_long_is_ended_by_the_clockwork(queue: JobQueue, clock: HandClock) -> None:
    job_id = await submit(queue, ttl_ms=10)
    clock.now_ms += 11
    tidying = asyncio.create_task(queue.keep_tidy())

    job = await queue.job("e", job_id, LONG_S)
    assert job is not None
    assert job.status is JobStatus.FAILED
    tidying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tidying


@pytest.mark.parametrize(("is_sync", "kept_ms"), [(False, 30 * 60_000), (True, 60_000)], ids=["run", "runsync"])
async def test_answers_are_kept_as_long_as_the_platform_keeps_them(
    queue: JobQueue, clock: HandClock, *, is_sync: bool, kept_ms: int
) -> None:
    job_id = (await queue.submit("e", JobRequest(b"{}"), is_sync=is_sync)).id
    await queue.take("w", 1, 0.0)
    await queue.finish("w", job_id, DONE)

    async def sweep() -> None:
        await queue._database.jobs(lambda store: store.forget_old(clock.time_ms()))

    clock.now_ms += kept_ms
    await sweep()
    assert (await status(queue, job_id)).output == b"1"
    clock.now_ms += 1
    await sweep()
    assert await queue.job("e", job_id) is None
