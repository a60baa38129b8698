"""From a job that was delivered to an answer that the platform has.

::

    job ─known?─▶ remembered answer ──────────────────────────┐
     └─ call in a slot ─▶ (ended early when draining) ─▶ body ┴─▶ platform, until it has it
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

from flashtrial.process.outcome import Failure
from flashtrial.protocol.execution import FailureKind
from flashtrial.worker.loop.call_following import Reporter, following
from flashtrial.worker.loop.drain import Drain
from flashtrial.worker.loop.job_reporter import Delivery, encoded
from flashtrial.worker.loop.job_slots import JobSlots
from flashtrial.worker.loop.job_taker import Job, first_of
from flashtrial.worker.loop.live_output import LiveOutput
from flashtrial.worker.loop.result_memo import ResultMemo
from flashtrial.worker.remote_executor import failed

Handler: TypeAlias = Callable[[Job], Awaitable[dict[str, Any]]]
RunJob: TypeAlias = Callable[[Handler, Job], Awaitable[dict[str, Any]]]

_GIVES_UP_THE_POD: Final = "stopPod"

logger = logging.getLogger(__name__)


class AnswersCalls(Protocol):
    """Whoever runs a request; `entrypoint.Worker` does."""

    async def handle(self, event: object, live: LiveOutput | None = None) -> dict[str, Any]: ...


class ReportsJobs(Reporter, Protocol):
    """Whoever speaks to the platform; `JobReporter` does."""

    async def answer(self, job_id: str, body: bytes, /) -> Delivery: ...


class JobDesk:
    """Serves the jobs of one worker, several at once, in one event loop. Owns none of its parts."""

    def __init__(
        self, worker: AnswersCalls, reporter: ReportsJobs, slots: JobSlots, drain: Drain, memo: ResultMemo | None = None
    ) -> None:
        self._worker = worker
        self._reporter = reporter
        self._slots = slots
        self._drain = drain
        self._memo = memo or ResultMemo()

    async def serve(self, run_job: RunJob, job: Job) -> None:
        """Run the job, unless it ran before, and see its answer delivered.

        `run_job` is the SDK's: it calls the handler and makes the body's fields of what that returns. When this task is
        cancelled (the platform's stop signal) the call's child is ended and nothing is posted.
        """
        job_id = job["id"]
        try:
            body = self._memo.get(job_id) or await self._run(run_job, job)
            self._slots.call_ended(job_id)  # the next job may come while this one's answer is on its way
            await self._deliver(job_id, body)
        finally:
            self._slots.give_back(job_id)

    async def _run(self, run_job: RunJob, job: Job) -> bytes:
        fields = await run_job(self._handle, job)
        if fields.get(_GIVES_UP_THE_POD):
            self._drain.take_no_more()
        body = encoded(fields)
        self._memo.keep(job["id"], body, is_failure="error" in fields)
        return body

    async def _deliver(self, job_id: str, body: bytes) -> None:
        delivery = await self._reporter.answer(job_id, body)
        if delivery is Delivery.TOO_LARGE:
            logger.error("the platform refused %d bytes for job %s", len(body), job_id, extra={"action": "too_large"})
            delivery = await self._reporter.answer(job_id, _refused_body(len(body)))
        if delivery is Delivery.TAKEN:
            self._memo.was_delivered(job_id)

    async def _handle(self, job: Job) -> dict[str, Any]:
        async with following(self._reporter, job["id"]) as live:
            return await self._until_drained(job, live)

    async def _until_drained(self, job: Job, live: LiveOutput) -> dict[str, Any]:
        """The call's answer; when the time of a drain is up first, the call is ended and that is the answer."""
        call = asyncio.ensure_future(self._worker.handle(job, live))
        try:
            await first_of(asyncio.wait({call}), self._drain.calls_must_end.wait())
        finally:
            call.cancel()  # no effect on one that is done
            await until_done(call)
        return _ended_by_drain(live, self._drain.grace_s) if call.cancelled() else call.result()


async def until_done(task: "asyncio.Future[Any]") -> None:
    """Return when `task` is done; a cancellation of the waiter, however often it comes, is passed on only then.

    For a call that is being ended: as long as its child lives, its slot is not free.
    """
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        raise asyncio.CancelledError


def _ended_by_drain(live: LiveOutput, grace_s: float) -> dict[str, Any]:
    message = (
        f"The worker was told to leave within {grace_s:g} s, and your call had not ended by then; it was ended. "
        "Submit it again."
    )
    return failed(Failure(FailureKind.WORKER_LOST, message), live.text()).to_wire()


def _refused_body(size_bytes: int) -> bytes:
    message = (
        f"The call ended, but the platform did not take its answer of {size_bytes:,} bytes. "
        "Return something smaller, or set FLASHTRIAL_MAX_RESULT_BYTES to what your platform takes."
    )
    answer = failed(Failure(FailureKind.RESULT, message), "").to_wire()
    return encoded({"error": answer.pop("error"), "output": answer})
