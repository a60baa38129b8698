"""The workers of all endpoints: started when jobs wait, watched, ended when idle, and all ended at the end.

Each endpoint is tended by a task of its own, which looks at its jobs and workers whenever either changed and does
what `scaling` says. A worker's death is noticed at once, and its jobs end with it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from flashtrial.core import env
from flashtrial.core.ids import new_id
from flashtrial.local_runpod import jobs, scaling
from flashtrial.local_runpod.auth import Gate
from flashtrial.local_runpod.bell import Bell, Topic, TopicKind
from flashtrial.local_runpod.catalog import Catalog
from flashtrial.local_runpod.endpoints import Endpoint
from flashtrial.local_runpod.errors import StorageFailed
from flashtrial.local_runpod.jobs import Verdict
from flashtrial.local_runpod.leftovers import end_leftovers
from flashtrial.local_runpod.queue import JobQueue
from flashtrial.local_runpod.worker_process import (
    GRACE_S,
    Assignment,
    WorkerProcess,
    exit_story,
    log_tail,
    tracking_token,
    worker_environment,
)

log = logging.getLogger(__name__)

SHARED_CONCURRENCY = 8
_PATIENCE = 3  # starts that may fail in a row before the jobs that wait are failed
_LONGEST_PAUSE_S = 30.0


class WorkerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"  # is handed no more jobs, and ended when its hands are empty
    ENDING = "ending"  # was told to go


@dataclass(slots=True)
class Worker:
    """One worker of an endpoint; belongs to its endpoint's tending task, except that polls make it ready."""

    id: str
    endpoint_id: str
    process: WorkerProcess
    log_path: Path
    state: WorkerState = WorkerState.STARTING
    was_ready: bool = False
    idle_since_s: float | None = None


@dataclass(slots=True)
class _Staff:
    """The workers of one endpoint, and how starting them has gone lately."""

    workers: dict[str, Worker] = field(default_factory=dict)
    failed_starts: int = 0
    not_before_s: float = 0.0
    last_story: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where workers run: how they are started, with what, and how many of one endpoint at most."""

    home: Path
    key: str
    command: Sequence[str]
    environment: Mapping[str, str]
    max_workers: int

    @property
    def logs(self) -> Path:
        """The directory of the workers' logs, and of others'."""
        return self.home / "logs"

    @property
    def scratches(self) -> Path:
        """The directory in which each worker has its working directory."""
        return self.home / "workers"

    def log_path(self, worker_id: str) -> Path:
        """The file with all that the worker printed."""
        return self.logs / f"worker-{worker_id}.log"


class Workers:
    """All workers of this instance. `start` … `stop`, in one event loop."""

    def __init__(self, place: Place, catalog: Catalog, queue: JobQueue, gate: Gate, bell: Bell) -> None:
        self._place = place
        self._catalog = catalog
        self._queue = queue
        self._gate = gate
        self._bell = bell
        self._base_url = ""
        self._is_stopping = False
        self._staff: dict[str, _Staff] = {}
        self._tenders: dict[str, asyncio.Task[None]] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def start(self, base_url: str) -> None:
        """Tend every endpoint there is; workers will call `base_url`."""
        self._base_url = base_url
        for endpoint in self._catalog.endpoints:
            self.tend(endpoint.id)

    async def stop(self) -> None:
        """End all workers: polls are answered, jobs in hand get a grace period, what is left is killed and reaped."""
        self._is_stopping = True
        for endpoint_id in self._tenders:
            self._bell.ring(Topic(TopicKind.STAFF, endpoint_id))
        await asyncio.gather(*self._tenders.values())
        self._tenders.clear()
        for worker in list(self.all()):
            self._end(worker)
        await asyncio.gather(*self._watchers)

    def tend(self, endpoint_id: str) -> None:
        """Look after the endpoint's workers from now on. Calling it again is a nudge to look now."""
        if endpoint_id not in self._tenders and self._base_url and not self._is_stopping:
            self._tenders[endpoint_id] = asyncio.create_task(self._tend(endpoint_id))
        self._bell.ring(Topic(TopicKind.STAFF, endpoint_id))

    def retire(self, endpoint_id: str) -> None:
        """Let the endpoint's workers go as soon as their hands are empty; new ones take their place where needed."""
        for worker in self.of(endpoint_id):
            self._dismiss(worker)
        self._bell.ring(Topic(TopicKind.STAFF, endpoint_id))

    def retire_one(self, worker_id: str) -> None:
        """Let one worker go as soon as its hands are empty; an unknown one is gone already."""
        for worker in self.all():
            if worker.id == worker_id:
                self._dismiss(worker)
                self._bell.ring(Topic(TopicKind.STAFF, worker.endpoint_id))

    def note_poll(self, worker_id: str) -> bool:
        """Whether the worker is one of ours; its first poll says that it is ready."""
        worker = next((worker for worker in self.all() if worker.id == worker_id), None)
        if worker is not None and not worker.was_ready:
            worker.was_ready = True
            self._staff[worker.endpoint_id].failed_starts = 0
            if worker.state is WorkerState.STARTING:
                worker.state = WorkerState.READY
            log.info("worker %s is ready", worker_id, extra={"action": "worker_ready", "worker_id": worker_id})
            self._bell.ring(Topic(TopicKind.STAFF, worker.endpoint_id))
        return worker is not None

    def of(self, endpoint_id: str) -> Sequence[Worker]:
        """The endpoint's workers, those that are leaving too."""
        staff = self._staff.get(endpoint_id)
        return () if staff is None else tuple(staff.workers.values())

    def all(self) -> Iterator[Worker]:
        """Every worker of this instance."""
        for staff in self._staff.values():
            yield from staff.workers.values()

    def log_lines(self, worker_id: str) -> list[str]:
        """The last lines of the worker's log, also after its end; none for a name that is no worker's."""
        return log_tail(self._place.log_path(worker_id)) if worker_id.isidentifier() else []

    async def _tend(self, endpoint_id: str) -> None:
        staff = self._staff.setdefault(endpoint_id, _Staff())
        loop = asyncio.get_running_loop()
        failures = 0
        with self._bell.listen(Topic(TopicKind.STAFF, endpoint_id)) as listener:
            while not self._is_stopping:
                try:
                    look_again_at_s = await self._look(endpoint_id, staff)
                    failures = 0
                except Exception:
                    # The edge of this endpoint's care: one bad look must not end it, nor the other endpoints'.
                    log.exception("tending endpoint %s failed", endpoint_id, extra={"action": "tend_failed"})
                    failures += 1
                    look_again_at_s = loop.time() + min(_LONGEST_PAUSE_S, 2.0**failures)
                await listener.wait_until(loop.time() + 3600.0 if look_again_at_s is None else look_again_at_s)

    async def _look(self, endpoint_id: str, staff: _Staff) -> float | None:
        """Do what is to be done for the endpoint now; when to look again even if nothing happens."""
        endpoint = await self._catalog.find(endpoint_id)
        census = await self._queue.census(endpoint_id)
        now_s = asyncio.get_running_loop().time()
        for worker in staff.workers.values():
            _note_idleness(worker, bool(census.held.get(worker.id)), now_s)
        facts = [_facts(worker) for worker in staff.workers.values() if worker.state is not WorkerState.ENDING]
        plan = scaling.plan(self._limits(endpoint), census, facts, now_s)
        for worker_id in plan.end:
            await self._let_go(staff.workers[worker_id])
        if plan.start and endpoint is not None:
            if now_s < staff.not_before_s:
                return staff.not_before_s
            await asyncio.gather(*(self._start_one(endpoint, staff) for _ in range(plan.start)))
        return plan.look_again_at_s

    def _limits(self, endpoint: Endpoint | None) -> scaling.Limits:
        if endpoint is None:
            return scaling.Limits(0, 0, 0.0, 1)
        most = min(endpoint.workers_max, self._place.max_workers)
        return scaling.Limits(endpoint.workers_min, most, endpoint.idle_timeout_s, self._concurrency(endpoint))

    def _concurrency(self, endpoint: Endpoint) -> int:
        """How many jobs each worker of the endpoint takes at once.

        An endpoint with one worker is one that serves instances or that cannot grow: its worker takes several.
        """
        default = SHARED_CONCURRENCY if endpoint.workers_max == 1 else 1
        known = {**self._place.environment, **self._catalog.environment(endpoint)}
        wanted = known.get(env.CONCURRENCY, "")
        return max(1, int(wanted[:9])) if wanted.isascii() and wanted.isdigit() else default

    async def _start_one(self, endpoint: Endpoint, staff: _Staff) -> None:
        worker_id = new_id("worker")
        place = self._place
        token, tracking = self._gate.hand_token_to(worker_id), tracking_token(place.key, worker_id)
        assignment = Assignment(worker_id, endpoint.id, self._base_url, place.key, token, tracking)
        concurrency = self._concurrency(endpoint)
        environment = worker_environment(
            place.environment,
            self._catalog.environment(endpoint),
            place.home,
            assignment,
            concurrency,
        )
        log_path = place.log_path(worker_id)
        try:
            process = await WorkerProcess.start(place.command, environment, place.scratches / worker_id, log_path)
        except OSError as error:
            self._gate.take_token_from(worker_id)
            await self._note_failed_start(endpoint.id, staff, f"{place.command[0]} cannot be run: {error}")
            return
        worker = Worker(worker_id, endpoint.id, process, log_path)
        staff.workers[worker_id] = worker
        self._queue.admit(worker_id, endpoint.id, concurrency)
        self._keep(asyncio.create_task(self._watch(worker, staff)))
        log.info(
            "worker %s of %s started, pid %d",
            worker_id,
            endpoint.name,
            process.pid,
            extra={"action": "worker_started", "worker_id": worker_id, "endpoint_id": endpoint.id},
        )

    async def _watch(self, worker: Worker, staff: _Staff) -> None:
        """Wait for the worker's end, whatever it is, and clean up after it."""
        status = await worker.process.wait()
        story = exit_story(status)
        verdict = jobs.STOPPED if self._is_stopping else jobs.worker_lost(f"{story}; its log is {worker.log_path}")
        lost = await self._lose_jobs(worker, verdict)
        await asyncio.to_thread(end_leftovers, self._place.home, worker.id)
        self._gate.take_token_from(worker.id)
        staff.workers.pop(worker.id, None)
        log.info(
            "worker %s is gone: %s; %d jobs went with it",
            worker.id,
            story,
            lost,
            extra={"action": "worker_gone", "worker_id": worker.id},
        )
        if worker.state is WorkerState.STARTING:
            await self._note_failed_start(worker.endpoint_id, staff, f"{story}; {_last_words(worker.log_path)}")
        self._bell.ring(Topic(TopicKind.STAFF, worker.endpoint_id))

    async def _lose_jobs(self, worker: Worker, verdict: Verdict) -> int:
        try:
            return await self._queue.lose(worker.id, verdict)
        except StorageFailed:  # said by the queue
            return 0

    async def _note_failed_start(self, endpoint_id: str, staff: _Staff, story: str) -> None:
        """Wait longer before each next try; after some, tell those who wait that it will not become better."""
        staff.failed_starts += 1
        pause_s = min(_LONGEST_PAUSE_S, 0.25 * 2 ** min(staff.failed_starts, 16))
        staff.not_before_s = asyncio.get_running_loop().time() + pause_s
        log.warning("a worker of %s did not start: %s", endpoint_id, story, extra={"action": "worker_start_failed"})
        if staff.failed_starts >= _PATIENCE:
            verdict = jobs.worker_lost(f"the endpoint's workers do not start: {story}")
            with contextlib.suppress(StorageFailed):  # after the next start that fails
                await self._queue.end_queued(endpoint_id, verdict)
        self._bell.ring(Topic(TopicKind.STAFF, endpoint_id))

    async def _let_go(self, worker: Worker) -> None:
        """End a worker whose hands are empty, unless it was handed a job meanwhile."""
        self._dismiss(worker)
        census = await self._queue.census(worker.endpoint_id)  # after any take that was under way
        if not census.held.get(worker.id):
            self._end(worker)

    def _end(self, worker: Worker) -> None:
        self._dismiss(worker)
        worker.state = WorkerState.ENDING
        self._keep(asyncio.create_task(worker.process.end(GRACE_S)))

    def _dismiss(self, worker: Worker) -> None:
        if worker.state is not WorkerState.ENDING:
            worker.state = WorkerState.LEAVING
        self._queue.dismiss(worker.id)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)


def _last_words(log_path: Path) -> str:
    return "its log ends with: " + " | ".join(log_tail(log_path, 2000)[-5:])


def _note_idleness(worker: Worker, has_jobs: bool, now_s: float) -> None:
    if has_jobs or not worker.was_ready:
        worker.idle_since_s = None
    elif worker.idle_since_s is None:
        worker.idle_since_s = now_s


def _facts(worker: Worker) -> scaling.WorkerFacts:
    return scaling.WorkerFacts(worker.id, worker.state is WorkerState.LEAVING, worker.idle_since_s)
