"""``/v2/{endpoint}/…`` as clients call it: submit jobs, learn of them, stop them.

``/status`` and ``/stream`` are held open for a while when there is nothing to say yet, so that a client which polls
learns of the end at once. The stock SDK gives each poll 4 or 10 seconds: the hold is shorter. ``?wait=`` (milliseconds,
as RunPod's own ``/runsync`` has it) asks for another hold, up to 20 s; 0 for none.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from flashtrial.local_runpod import jobs
from flashtrial.local_runpod.auth import Gate
from flashtrial.local_runpod.catalog import Catalog
from flashtrial.local_runpod.endpoints import Endpoint
from flashtrial.local_runpod.envelope import read_request, status_object, stream_object
from flashtrial.local_runpod.errors import BadRequest, Refusal
from flashtrial.local_runpod.http import MIB, PlainErrorRoute, json_response, read_body
from flashtrial.local_runpod.jobs import Job, JobStatus
from flashtrial.local_runpod.queue import JobQueue
from flashtrial.local_runpod.workers import Worker, Workers, WorkerState

RUN_LIMIT_BYTES = 10 * MIB
RUNSYNC_LIMIT_BYTES = 20 * MIB
POLL_HOLD_MS = 3000
LONGEST_POLL_HOLD_MS = 20_000
RUNSYNC_HOLD_MS = 90_000
LONGEST_RUNSYNC_HOLD_MS = 300_000


class DataPlane:
    """The client's side of the jobs."""

    def __init__(self, catalog: Catalog, queue: JobQueue, workers: Workers) -> None:
        self._catalog = catalog
        self._queue = queue
        self._workers = workers

    def router(self, gate: Gate) -> APIRouter:
        """Its routes, each behind the gate."""
        router = APIRouter(
            prefix="/v2/{endpoint_id}", route_class=PlainErrorRoute, dependencies=[Depends(gate.check_client)]
        )
        router.add_api_route("/run", self.run, methods=["POST"])
        router.add_api_route("/runsync", self.runsync, methods=["POST"])
        router.add_api_route("/status/{job_id}", self.status, methods=["GET", "POST"])
        router.add_api_route("/stream/{job_id}", self.stream, methods=["GET", "POST"])
        router.add_api_route("/cancel/{job_id}", self.cancel, methods=["POST"])
        router.add_api_route("/retry/{job_id}", self.retry, methods=["POST"])
        router.add_api_route("/purge-queue", self.purge, methods=["POST"])
        router.add_api_route("/health", self.health, methods=["GET"])
        router.add_api_route("/metrics", self.metrics, methods=["GET"])
        return router

    async def run(self, endpoint_id: str, request: Request) -> Response:
        """Queue a job and say its id."""
        job = await self._submit(endpoint_id, await read_body(request, RUN_LIMIT_BYTES), is_sync=False)
        return JSONResponse({"id": job.id, "status": job.status})

    async def runsync(self, endpoint_id: str, request: Request) -> Response:
        """Queue a job and wait for its end, for as long as ``?wait=`` says."""
        wait_s = _wait_s(request, RUNSYNC_HOLD_MS, LONGEST_RUNSYNC_HOLD_MS)
        job = await self._submit(endpoint_id, await read_body(request, RUNSYNC_LIMIT_BYTES), is_sync=True)
        return json_response(status_object(_existing(await self._queue.job(endpoint_id, job.id, wait_s))))

    async def status(self, endpoint_id: str, job_id: str, request: Request) -> Response:
        """The job, held back a little while it has not ended."""
        wait_s = _wait_s(request, POLL_HOLD_MS, LONGEST_POLL_HOLD_MS)
        return json_response(status_object(_existing(await self._queue.job(endpoint_id, job_id, wait_s))))

    async def stream(self, endpoint_id: str, job_id: str, request: Request) -> Response:
        """The chunks that came since the last call, each given once."""
        wait_s = _wait_s(request, POLL_HOLD_MS, LONGEST_POLL_HOLD_MS)
        found = await self._queue.chunks(endpoint_id, job_id, wait_s)
        if found is None:
            raise _no_such_job()
        job, chunks = found
        return json_response(stream_object(job, chunks))

    async def cancel(self, endpoint_id: str, job_id: str) -> Response:
        """Cancel the job; one that has ended stays as it is, and the answer says how that was."""
        return json_response(status_object(_existing(await self._queue.cancel(endpoint_id, job_id))))

    async def retry(self, endpoint_id: str, job_id: str) -> Response:
        """Put a failed job back into its queue."""
        if not await self._queue.retry(endpoint_id, job_id):
            job = _existing(await self._queue.job(endpoint_id, job_id))
            raise BadRequest(f"only a failed job can be retried; this one is {job.status}")
        return JSONResponse({"id": job_id, "status": JobStatus.IN_QUEUE})

    async def purge(self, endpoint_id: str) -> Response:
        """Cancel all jobs that wait."""
        await self._endpoint(endpoint_id)
        removed = await self._queue.end_queued(endpoint_id, jobs.PURGED)
        return JSONResponse({"removed": removed, "status": "completed"})

    async def health(self, endpoint_id: str) -> Response:
        """How many jobs and workers stand where."""
        await self._endpoint(endpoint_id)
        counts = await self._queue.counts(endpoint_id)
        return JSONResponse(
            {
                "jobs": {
                    "completed": counts.get(JobStatus.COMPLETED, 0),
                    "failed": counts.get(JobStatus.FAILED, 0) + counts.get(JobStatus.TIMED_OUT, 0),
                    "inProgress": counts.get(JobStatus.IN_PROGRESS, 0),
                    "inQueue": counts.get(JobStatus.IN_QUEUE, 0),
                    "retried": counts["retried"],
                },
                "workers": _worker_counts(self._workers.of(endpoint_id)),
            }
        )

    async def metrics(self, endpoint_id: str) -> Response:
        """Which workers are ready."""
        await self._endpoint(endpoint_id)
        workers = self._workers.of(endpoint_id)
        ready = [worker.id for worker in workers if worker.state is WorkerState.READY]
        return JSONResponse({"readyWorkers": ready, "workers": _worker_counts(workers)})

    async def _submit(self, endpoint_id: str, body: bytes, *, is_sync: bool) -> Job:
        endpoint = await self._endpoint(endpoint_id)
        request = read_request(body)
        if request.execution_timeout_ms is None:
            request = replace(request, execution_timeout_ms=endpoint.execution_timeout_ms)
        job = await self._queue.submit(endpoint_id, request, is_sync=is_sync)
        self._workers.tend(endpoint_id)
        return job

    async def _endpoint(self, endpoint_id: str) -> Endpoint:
        endpoint = await self._catalog.find(endpoint_id)
        if endpoint is None:
            raise Refusal(404, f"there is no endpoint {endpoint_id!r} here; saveEndpoint makes one")
        return endpoint


def _worker_counts(workers: Sequence[Worker]) -> dict[str, int]:
    states = Counter(
        "running" if worker.state is WorkerState.READY and worker.idle_since_s is None else worker.state
        for worker in workers
    )
    idle = states[WorkerState.READY]
    return {
        "idle": idle,
        "initializing": states[WorkerState.STARTING],
        "ready": idle + states["running"],
        "running": states["running"],
        "throttled": 0,
        "unhealthy": 0,
    }


def _wait_s(request: Request, default_ms: int, longest_ms: int) -> float:
    given = request.query_params.get("wait", str(default_ms))
    if not (given.isascii() and given.isdigit()):
        raise BadRequest("wait is a number of milliseconds")
    return min(int(given[:9]), longest_ms) / 1000


def _existing(job: Job | None) -> Job:
    if job is None:
        raise _no_such_job()
    return job


def _no_such_job() -> Refusal:
    return Refusal(404, "there is no such job here: never submitted, or its answer is no longer kept")
