"""The job queue as routes and workers see it: a queue per endpoint, waits that end when there is something to say.

Only workers that were admitted are handed jobs; one that is dismissed has its open polls answered at once. Everything
here runs in one event loop; the rows are another thread's (see `database`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar, assert_never

from flashtrial.core.clock import Clock
from flashtrial.core.ids import new_id
from flashtrial.local_runpod import jobs
from flashtrial.local_runpod.bell import Bell, Topic, TopicKind
from flashtrial.local_runpod.database import Database
from flashtrial.local_runpod.envelope import JobReport, JobRequest
from flashtrial.local_runpod.errors import StorageFailed
from flashtrial.local_runpod.job_store import Census, Change, Ended, JobStore, Queued, Streamed, Taken
from flashtrial.local_runpod.jobs import Job, TakenJob, Verdict

T = TypeVar("T")

log = logging.getLogger(__name__)

KEEP_ASYNC_MS = 30 * 60 * 1000
KEEP_SYNC_MS = 60 * 1000
SWEEP_EVERY_S = 5.0
INSIST_EVERY_S = 1.0
# A job that was handed out this long ago and that its worker's pings do not name was lost on the way.
MISSING_AFTER_MS = 5000


@dataclass(frozen=True, slots=True)
class _Post:
    """Whom an admitted worker serves, and how many jobs it is given at most at a time."""

    endpoint_id: str
    room: int


class JobQueue:
    """All endpoints' queues over one `Database`. Times out what runs too long and forgets what is old."""

    def __init__(self, database: Database, bell: Bell, clock: Clock) -> None:
        self._database = database
        self._bell = bell
        self._clock = clock
        self._staff: dict[str, _Post] = {}  # admitted workers
        self._stops: dict[str, list[str]] = {}  # worker → jobs that it is to stop
        self._missing: dict[str, frozenset[str]] = {}  # worker → held jobs that its last ping did not name
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._is_closing = False
        self._is_over = False
        self._ending: set[asyncio.Task[bool]] = set()
        database.on_changes(self._apply)

    async def recover(self) -> None:
        """End what an earlier life of this program left in its workers' hands."""
        await self._database.jobs(lambda store: store.end_orphans(self._clock.time_ms()))

    async def keep_tidy(self) -> None:
        """End what waited too long and forget old answers, for ever; cancel it to end it."""
        while True:
            try:
                await self._database.jobs(lambda store: store.end_expired(self._clock.time_ms()))
                await self._database.jobs(lambda store: store.forget_old(self._clock.time_ms()))
            except StorageFailed as error:
                log.warning("the queue cannot be seen to: %s", error, extra={"action": "tidying_failed"})
            await asyncio.sleep(SWEEP_EVERY_S)

    def dismiss_workers(self) -> None:
        """Dismiss every worker, for good; clients may go on waiting for what the workers hand in while they leave."""
        self._is_closing = True
        for worker_id in list(self._staff):
            self.dismiss(worker_id)

    def dismiss_all(self) -> None:
        """Dismiss every worker, and answer all that wait, clients too: the end has come."""
        self.dismiss_workers()
        self._is_over = True
        self._bell.ring_all()

    async def close(self) -> None:
        """Drop the timers; what was handed to the database is still done."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)

    # -- clients ------------------------------------------------------------------------------------------------

    async def submit(self, endpoint_id: str, request: JobRequest, *, is_sync: bool = False) -> Job:
        """A new job in the endpoint's queue, on disk when this returns."""
        job_id = new_id(jobs.SYNC_PREFIX if is_sync else "job")
        keep_ms = KEEP_SYNC_MS if is_sync else KEEP_ASYNC_MS
        now_ms = self._clock.time_ms()
        return await self._database.jobs(lambda store: store.add(job_id, endpoint_id, request, now_ms, keep_ms))

    async def job(self, endpoint_id: str, job_id: str, wait_s: float = 0.0) -> Job | None:
        """The job, after its end or after `wait_s`, whichever comes first; None where there is no such job."""
        if wait_s > 0:
            await self._until_ended(endpoint_id, job_id, wait_s)
        return await self._database.jobs(lambda store: store.get(endpoint_id, job_id))

    async def chunks(self, endpoint_id: str, job_id: str, wait_s: float) -> tuple[Job, Sequence[bytes]] | None:
        """The job and its chunks that were not yet handed out, as soon as there are any or it has ended."""
        deadline = asyncio.get_running_loop().time() + wait_s
        with self._bell.listen(Topic(TopicKind.STREAM, job_id)) as listener:
            while True:
                # In this order: the end comes after the last chunk, so an ended job has no chunk left behind.
                job = await self._database.jobs(lambda store: store.get(endpoint_id, job_id))
                if job is None:
                    return None
                chunks = await self._database.jobs(lambda store: store.take_chunks(job_id))
                is_all = bool(chunks) or job.status.is_finished or self._is_over
                if is_all or not await listener.wait_until(deadline):
                    return job, chunks

    async def cancel(self, endpoint_id: str, job_id: str) -> Job | None:
        """The job after it was cancelled; one that had ended before stays as it was. None: no such job."""
        job = await self.job(endpoint_id, job_id)
        if job is None or job.status.is_finished:
            return job
        await self._end(job_id, jobs.CANCELLED)
        return await self.job(endpoint_id, job_id)

    async def retry(self, endpoint_id: str, job_id: str) -> bool:
        """Whether the job waits in its queue again; only one that failed may."""
        return await self._database.jobs(lambda store: store.retry(endpoint_id, job_id, self._clock.time_ms()))

    async def end_queued(self, endpoint_id: str, verdict: Verdict) -> int:
        """How many waiting jobs of the endpoint were ended."""
        return await self._database.jobs(lambda store: store.end_queued(endpoint_id, verdict, self._clock.time_ms()))

    async def end_all(self, endpoint_id: str, verdict: Verdict) -> int:
        """How many jobs of the endpoint, waiting or running, were ended."""
        return await self._database.jobs(lambda store: store.end_all(endpoint_id, verdict, self._clock.time_ms()))

    async def census(self, endpoint_id: str) -> Census:
        """How much work the endpoint has."""
        return await self._database.jobs(lambda store: store.census(endpoint_id))

    async def counts(self, endpoint_id: str) -> Mapping[str, int]:
        """How many jobs stand in each state."""
        return MappingProxyType(await self._database.jobs(lambda store: store.counts(endpoint_id)))

    # -- workers ------------------------------------------------------------------------------------------------

    def admit(self, worker_id: str, endpoint_id: str, room: int) -> None:
        """Let the worker take jobs of the endpoint, and have up to `room` in its hands, however many it asks for."""
        if not self._is_closing:
            self._staff[worker_id] = _Post(endpoint_id, room)

    def is_admitted(self, worker_id: str) -> bool:
        """Whether the worker is handed jobs."""
        return worker_id in self._staff

    def dismiss(self, worker_id: str) -> None:
        """Hand the worker no more jobs, and answer its open polls; what it holds it may still finish."""
        post = self._staff.pop(worker_id, None)
        if post is not None:
            self._bell.ring(Topic(TopicKind.QUEUE, post.endpoint_id))
            self._bell.ring(Topic(TopicKind.STOP, worker_id))

    async def lose(self, worker_id: str, verdict: Verdict) -> int:
        """How many jobs ended with the worker that held them and is gone. Dismisses it first.

        Insists while the database cannot be written, for until then they seem to run; raises `StorageFailed` only when
        everything ends, and then the next start ends them.
        """
        self.dismiss(worker_id)
        self._stops.pop(worker_id, None)
        self._missing.pop(worker_id, None)
        return await self._insist(lambda store: store.end_held_by(worker_id, verdict, self._clock.time_ms()))

    async def take(self, worker_id: str, limit: int, wait_s: float) -> Sequence[TakenJob]:
        """Up to `limit` jobs for the worker; none when none came within `wait_s`, or when it was dismissed."""
        post = self._staff.get(worker_id)
        if post is None:
            return ()
        deadline = asyncio.get_running_loop().time() + wait_s
        with self._bell.listen(Topic(TopicKind.QUEUE, post.endpoint_id)) as listener:
            while worker_id in self._staff:
                # The database works in order: a worker that is lost after this line loses these jobs as well.
                taken = await self._take_now(post, worker_id, limit)
                if taken or not await listener.wait_until(deadline):
                    return taken
        return ()

    async def stop_signals(self, worker_id: str, wait_s: float) -> Sequence[str]:
        """The jobs that the worker is to stop, as soon as there are any; each is named once."""
        deadline = asyncio.get_running_loop().time() + wait_s
        with self._bell.listen(Topic(TopicKind.STOP, worker_id)) as listener:
            while True:
                stops = self._stops.pop(worker_id, [])
                if stops or worker_id not in self._staff or not await listener.wait_until(deadline):
                    return stops

    async def finish(self, worker_id: str, job_id: str, report: JobReport) -> bool:
        """Whether the report ended the job; false, and nothing happens, unless the worker holds it."""
        return await self._database.jobs(
            lambda store: store.finish(worker_id, job_id, report, self._clock.time_ms()),
        )

    async def note_progress(self, worker_id: str, job_id: str, output: bytes | None) -> bool:
        """Whether the job's status shows `output` now; false unless the worker holds it."""
        return await self._database.jobs(lambda store: store.note_progress(worker_id, job_id, output))

    async def add_chunk(self, worker_id: str, job_id: str, chunk: bytes) -> bool:
        """Whether the chunk was kept for those who stream; false unless the worker holds the job."""
        return await self._database.jobs(lambda store: store.add_chunk(worker_id, job_id, chunk))

    async def compare(self, worker_id: str, named: Sequence[str]) -> None:
        """Set right what the worker works on (`named`, from its ping) against what it should.

        It is told again to stop what it no longer holds: a signal that reached it before the job had begun was lost.
        And a job that it holds and does not name twice running will get no answer: the SDK gives up on answers that
        the platform refused, and on batches that it could not read.
        """
        for job_id in await self._database.jobs(lambda store: store.not_held(worker_id, named)):
            self._want_stop(worker_id, job_id)
        since_ms = self._clock.time_ms() - MISSING_AFTER_MS
        held = await self._database.jobs(lambda store: store.held_by(worker_id, since_ms))
        missing = frozenset(held) - frozenset(named)
        for job_id in missing & self._missing.get(worker_id, frozenset()):
            await self._end(job_id, jobs.UNANSWERED)
        self._missing[worker_id] = missing

    # -- inside -------------------------------------------------------------------------------------------------

    def _apply(self, changes: Iterable[Change]) -> None:
        """Tell those who wait what has changed. Called in the event loop after each commit."""
        for change in changes:
            match change:
                case Queued(endpoint_id):
                    self._bell.ring(Topic(TopicKind.QUEUE, endpoint_id))
                    self._bell.ring(Topic(TopicKind.STAFF, endpoint_id))
                case Taken(endpoint_id, job_id, attempt, timeout_ms):
                    self._bell.ring(Topic(TopicKind.STAFF, endpoint_id))
                    self._limit(job_id, attempt, timeout_ms)
                case Ended(endpoint_id, job_id, interrupted):
                    self._note_end(endpoint_id, job_id, interrupted)
                case Streamed(job_id):
                    self._bell.ring(Topic(TopicKind.STREAM, job_id))
                case _:
                    assert_never(change)

    def _note_end(self, endpoint_id: str, job_id: str, interrupted: str | None) -> None:
        if timer := self._timers.pop(job_id, None):
            timer.cancel()
        if interrupted is not None:
            self._want_stop(interrupted, job_id)
        for topic in (TopicKind.JOB, TopicKind.STREAM):
            self._bell.ring(Topic(topic, job_id))
        for topic in (TopicKind.QUEUE, TopicKind.STAFF):  # a worker has room again
            self._bell.ring(Topic(topic, endpoint_id))

    def _want_stop(self, worker_id: str, job_id: str) -> None:
        self._stops.setdefault(worker_id, []).append(job_id)
        self._bell.ring(Topic(TopicKind.STOP, worker_id))

    def _limit(self, job_id: str, attempt: int, timeout_ms: int | None) -> None:
        if timeout_ms is not None:
            loop = asyncio.get_running_loop()
            self._timers[job_id] = loop.call_later(timeout_ms / 1000, self._time_out, job_id, attempt, timeout_ms)

    def _time_out(self, job_id: str, attempt: int, timeout_ms: int) -> None:
        self._timers.pop(job_id, None)
        verdict, now_ms = jobs.timed_out(timeout_ms), self._clock.time_ms()
        ending = self._insist(lambda store: store.end_job(job_id, verdict, now_ms, attempt=attempt))
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, job_id: str, verdict: Verdict) -> None:
        now_ms = self._clock.time_ms()
        await self._database.jobs(lambda store: store.end_job(job_id, verdict, now_ms))

    async def _insist(self, work: Callable[[JobStore], T]) -> T:
        while True:
            try:
                return await self._database.jobs(work)
            except StorageFailed as error:
                log.warning("a worker's jobs cannot be seen to: %s", error, extra={"action": "ending_failed"})
                if self._is_closing:
                    raise
            await asyncio.sleep(INSIST_EVERY_S)

    async def _take_now(self, post: _Post, worker_id: str, limit: int) -> list[TakenJob]:
        sharers = sum(other.endpoint_id == post.endpoint_id for other in self._staff.values())
        now_ms = self._clock.time_ms()

        def take(store: JobStore) -> list[TakenJob]:
            room = min(limit, post.room - store.count_held_by(worker_id))
            return store.take(post.endpoint_id, worker_id, room, sharers, now_ms) if room > 0 else []

        return await self._database.jobs(take)

    async def _until_ended(self, endpoint_id: str, job_id: str, wait_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + wait_s
        with self._bell.listen(Topic(TopicKind.JOB, job_id)) as listener:
            while await self._database.jobs(lambda store: store.is_running(endpoint_id, job_id)):
                if self._is_over or not await listener.wait_until(deadline):
                    return
