"""``/v2/{endpoint}/job-…`` as the SDK's loop in a worker calls it: take jobs, hand in answers, learn what to stop.

Polls are held at most 5 s, and answered at once when the worker is to leave, since it leaves only when its open polls
have returned. A worker that is not one of ours is told 429, the one answer at which the loop pauses before it asks
again.
"""

import asyncio
import logging

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from flashtrial.local_runpod.auth import Gate
from flashtrial.local_runpod.envelope import JobReport, job_list, job_object, read_chunk, read_report
from flashtrial.local_runpod.errors import BadRequest, Refusal
from flashtrial.local_runpod.http import MIB, PlainErrorRoute, json_response, nothing, read_body
from flashtrial.local_runpod.jobs import SYNC_PREFIX
from flashtrial.local_runpod.queue import JobQueue
from flashtrial.local_runpod.workers import Workers

log = logging.getLogger(__name__)

RUN_RESULT_LIMIT_BYTES = 10 * MIB
RUNSYNC_RESULT_LIMIT_BYTES = 20 * MIB
CHUNK_LIMIT_BYTES = MIB
POLL_HOLD_S = 5.0
# For one that is leaving but still has jobs: its loop asks on without a pause of its own.
LEAVING_PAUSE_S = 0.5
LARGEST_BATCH = 1000


class JobApi:
    """The worker's side of the jobs."""

    def __init__(self, queue: JobQueue, workers: Workers) -> None:
        self._queue = queue
        self._workers = workers

    def router(self, gate: Gate) -> APIRouter:
        """Its routes, each behind the gate. Where the path names a worker, that worker's token opens it as well."""
        router = APIRouter(
            prefix="/v2/{endpoint_id}", route_class=PlainErrorRoute, dependencies=[Depends(gate.check_worker)]
        )
        router.add_api_route("/job-take/{worker_id}", self.take, methods=["GET"])
        router.add_api_route("/job-take-batch/{worker_id}", self.take_batch, methods=["GET"])
        router.add_api_route("/job-stop/{worker_id}", self.stop, methods=["GET"])
        router.add_api_route("/job-done/{worker_id}/{job_id}", self.done, methods=["POST"])
        router.add_api_route("/job-stream/{worker_id}/{job_id}", self.stream, methods=["POST"])
        router.add_api_route("/ping/{worker_id}", self.ping, methods=["GET"])
        return router

    async def take(self, worker_id: str) -> Response:
        """One job, or 204."""
        self._check_known(worker_id)
        taken = await self._queue.take(worker_id, 1, POLL_HOLD_S)
        return json_response(job_object(taken[0])) if taken else await self._nothing_for(worker_id)

    async def take_batch(self, worker_id: str, request: Request) -> Response:
        """Up to ``batch_size`` jobs, or 204."""
        self._check_known(worker_id)
        wanted = request.query_params.get("batch_size", "1")
        if not (wanted.isascii() and wanted.isdigit()):
            raise BadRequest("batch_size is a number")
        taken = await self._queue.take(worker_id, min(int(wanted[:9]), LARGEST_BATCH), POLL_HOLD_S)
        return json_response(job_list(taken)) if taken else await self._nothing_for(worker_id)

    async def stop(self, worker_id: str) -> Response:
        """The jobs that the worker is to stop, or 204."""
        self._check_known(worker_id)
        stops = await self._queue.stop_signals(worker_id, POLL_HOLD_S)
        return JSONResponse({"jobsToStop": list(stops)}) if stops else nothing()

    async def done(self, worker_id: str, job_id: str, request: Request) -> Response:
        """Take a result or a progress update. One for a job that is not the worker's (any more) is dropped."""
        try:
            report = read_report(await read_body(request, _result_limit_bytes(job_id)))
        except Refusal as refusal:
            # The loop only logs a refused result, and nobody would ever hear of the job again.
            lost = JobReport(
                output=None, error=f"the result was refused: {refusal}", is_progress=False, stops_pod=False
            )
            await self._queue.finish(worker_id, job_id, lost)
            raise Refusal(400, refusal.message) from refusal
        if report.is_progress:
            is_held = await self._queue.note_progress(worker_id, job_id, report.output)
        else:
            is_held = await self._queue.finish(worker_id, job_id, report)
        if not is_held:
            log.info("dropped a report on %s by %s", job_id, worker_id, extra={"action": "report_dropped"})
        if report.stops_pod:
            self._workers.retire_one(worker_id)
        return JSONResponse({})

    async def stream(self, worker_id: str, job_id: str, request: Request) -> Response:
        """Take a chunk of the job's output."""
        await self._queue.add_chunk(worker_id, job_id, read_chunk(await read_body(request, CHUNK_LIMIT_BYTES)))
        return JSONResponse({})

    async def ping(self, worker_id: str, request: Request) -> Response:
        """Compare the jobs that the worker has with those it should have."""
        if self._queue.is_admitted(worker_id):
            named = [job_id for job_id in request.query_params.get("job_id", "").split(",") if job_id]
            await self._queue.compare(worker_id, named)
        return JSONResponse({})

    def _check_known(self, worker_id: str) -> None:
        if not self._workers.note_poll(worker_id):
            raise Refusal(429, "this worker is not one of this instance")

    async def _nothing_for(self, worker_id: str) -> Response:
        if not self._queue.is_admitted(worker_id):
            await asyncio.sleep(LEAVING_PAUSE_S)
        return nothing()


def _result_limit_bytes(job_id: str) -> int:
    return RUNSYNC_RESULT_LIMIT_BYTES if job_id.startswith(f"{SYNC_PREFIX}_") else RUN_RESULT_LIMIT_BYTES
