"""The SDK's loop, made careful: the one module that knows its internals (runpod 1.12).

What stays the SDK's: `start` with its arguments, fitness checks and ping process; the requests for jobs and for stop
signals; `run_job`; the book-keeping of `JobScaler.handle_job`. What is replaced: when a job is asked for (`JobTaker`),
how it is answered (`JobDesk`), and how the process leaves (`Drain`). Importing this imports the SDK: seconds.
"""

import asyncio
import ctypes
import functools
import inspect
import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Final, Protocol

from flashtrial.core import env
from flashtrial.worker.loop.drain import Drain
from flashtrial.worker.loop.job_desk import AnswersCalls, JobDesk
from flashtrial.worker.loop.job_reporter import JobReporter, ReportUrls
from flashtrial.worker.loop.job_slots import JobSlots
from flashtrial.worker.loop.job_taker import Job, JobTaker, PauseWanted, first_of
from flashtrial.worker.loop.sdk_import import quick_cpu_info
from flashtrial.worker.worker_settings import WorkerSettings

with quick_cpu_info():
    import runpod
    from runpod import http_client
    from runpod.serverless.modules import rp_job, rp_scale, worker_state
    from runpod.serverless.modules.rp_logger import RunPodLogger

_PAUSE_S: Final = 5.0
_CLOSE_S: Final = 20.0
_MARGIN_S: Final = 1.0
_LATE_S: Final = 2.0
_LEAVING_S: Final = 2.0
_LONG_S: Final = 3600.0
_PR_SET_PDEATHSIG: Final = 1
_SCALER_TAKES: Final[Mapping[str, Sequence[str]]] = {
    "__init__": ("self", "config"),
    "start": ("self",),
    "run": ("self",),
    "handle_shutdown": ("self", "signum", "frame"),
    "kill_worker": ("self",),
    "is_alive": ("self",),
    "handle_job": ("self", "session", "job"),
    "monitor_stop_signals": ("self", "session"),
}
_SCALER_HAS: Final = (
    "jobs_fetcher",
    "jobs_fetcher_timeout",
    "jobs_handler",
    "jobs_queue",
    "jobs_tasks",
    "job_progress",
    "current_concurrency",
)

logger = logging.getLogger(__name__)


class Servant(AnswersCalls, Protocol):
    """A worker as the loop needs it; `entrypoint.Worker` is one."""

    async def close(self) -> None:
        """End every process that it made."""
        ...

    def kill(self) -> None:
        """The same at once, from a signal handler or another thread."""
        ...


def serve(make_worker: Callable[[], Servant], handler: Callable[..., Awaitable[Any]], settings: WorkerSettings) -> None:
    """Run the SDK's ``start``; returns when the worker has left.

    `make_worker` is called when the loop is about to take jobs. `handler` answers where there is no loop: one job given
    as ``--test_input``, or ``--rp_serve_api``.
    """
    if not (env.get("RUNPOD_LOG_LEVEL") or env.get("RUNPOD_DEBUG_LEVEL")):
        RunPodLogger().level = "INFO"  # at its default, DEBUG, it logs whole payloads
    config = {"handler": handler, "concurrency_modifier": lambda _current: settings.concurrency}
    if lacking := missing_internals():
        logger.warning(
            "this version of runpod lacks %s: its own loop runs, without flashtrial's care for jobs and drains",
            ", ".join(lacking),
            extra={"action": "plain_loop"},
        )
    else:
        rp_scale.JobScaler = functools.partial(CarefulScaler, make_worker=make_worker, settings=settings)
        os.register_at_fork(after_in_child=_die_with_parent)  # the ping process, which would live on
    runpod.serverless.start(config)


def missing_internals() -> list[str]:
    """What this module relies on and the installed SDK does not have; nothing with an SDK that it was made for."""
    lacking = [
        f"JobScaler.{name}({', '.join(parameters)})"
        for name, parameters in _SCALER_TAKES.items()
        if _parameters(getattr(_JobScaler, name, None)) != tuple(parameters)
    ]
    if not lacking:
        scaler = _JobScaler({})
        lacking = [f"JobScaler().{name}" for name in _SCALER_HAS if not hasattr(scaler, name)]
    if _parameters(getattr(rp_job, "run_job", None)) != ("handler", "job"):
        lacking.append("rp_job.run_job(handler, job)")
    if _parameters(getattr(rp_job, "get_job", None)) != ("session", "num_jobs"):
        lacking.append("rp_job.get_job(session, num_jobs)")
    return lacking


def _parameters(function: object) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters) if callable(function) else ()


_JobScaler: Final[Any] = rp_scale.JobScaler


class CarefulScaler(_JobScaler):  # type: ignore[misc]
    """The SDK's scaler with our taking, answering and leaving. One per process; lives as long as its `start`."""

    def __init__(self, config: dict[str, Any], make_worker: Callable[[], Servant], settings: WorkerSettings) -> None:
        super().__init__(config)
        self.current_concurrency = settings.concurrency
        self._make_worker = make_worker
        self._settings = settings
        self._drain = Drain(settings.drain_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Servant | None = None
        self._signals = 0
        self._has_left = False

    def handle_shutdown(self, signum: int, frame: FrameType | None) -> None:
        """Leave within the grace period; at the second signal, at once. A signal handler of the main thread."""
        del frame
        self._signals += 1
        if self._signals > 1:
            self._leave_now(128 + signum)
        # written as it is: a log record may wait for a lock that the interrupted code holds
        os.write(2, f"{signal.Signals(signum).name}: leaving within {self._settings.drain_s:g} s\n".encode())
        _in_background(self._settings.drain_s + _LATE_S, functools.partial(self._leave_now, 1))
        self.kill_worker()

    def kill_worker(self) -> None:
        """Begin to leave."""
        if self._loop is None:
            self._shutdown_event.set()
        else:
            self._loop.call_soon_threadsafe(self._drain.begin)

    def is_alive(self) -> bool:
        """Whether stop signals are listened to: until the last job is answered, also while draining."""
        return not self._has_left

    async def run(self) -> None:
        """Take and answer jobs until the end of the drain."""
        self._loop = asyncio.get_running_loop()
        if self._shutdown_event.is_set():  # the signal was quicker
            return
        self._worker = self._make_worker()
        async with http_client.AsyncClientSession() as session:
            stops = asyncio.create_task(self.monitor_stop_signals(session))
            try:
                await self._take_and_answer(session, self._worker)
            finally:
                self._has_left = True
                stops.cancel()
                await asyncio.gather(stops, return_exceptions=True)
                await self._close(self._worker)

    async def _take_and_answer(self, session: Any, worker: Servant) -> None:
        slots = JobSlots(self._settings.concurrency)
        reporter = JobReporter(session, ReportUrls.from_environment(worker_state.WORKER_ID), self._drain)
        desk = JobDesk(worker, reporter, slots, self._drain)
        self.jobs_handler = lambda _session, _config, job: desk.serve(rp_job.run_job, job)
        poll, begin = functools.partial(self._poll, session), functools.partial(self._begin, session)
        await JobTaker(poll, begin, slots, self._drain).run()
        if self.jobs_tasks:
            logger.info("leaving; %d jobs are in hand", len(self.jobs_tasks), extra={"action": "draining"})
        await self._last_answers()

    async def _poll(self, session: Any) -> Sequence[Job]:
        try:
            async with asyncio.timeout(self.jobs_fetcher_timeout):
                return [job for job in await self.jobs_fetcher(session, 1) or () if _is_job(job)]
        except http_client.TooManyRequests as error:
            raise PauseWanted(_PAUSE_S) from error
        except TimeoutError:
            return ()

    def _begin(self, session: Any, job: Job) -> None:
        """Start the job's task; `handle_job` expects it to have been in the queue and among those in progress."""
        self.jobs_queue.put_nowait(job)
        self.jobs_queue.get_nowait()
        self.job_progress.add(job["id"])
        task = asyncio.create_task(self.handle_job(session, job))
        task.add_done_callback(_say_failed)
        self.jobs_tasks[job["id"]] = task

    async def _last_answers(self) -> None:
        """Wait for the jobs in hand; when the time is up, give up what is left."""
        while self.jobs_tasks:
            left_s = self._drain.left_s()
            if left_s <= 0:
                logger.error(
                    "leaving without answers to %s", ", ".join(self.jobs_tasks), extra={"action": "jobs_abandoned"}
                )
                return
            waiting = asyncio.wait(tuple(self.jobs_tasks.values()), return_when=asyncio.FIRST_COMPLETED)
            await first_of(waiting, self._drain.sleep(left_s if math.isfinite(left_s) else _LONG_S))

    async def _close(self, worker: Servant) -> None:
        left_s = self._drain.left_s(asyncio.get_running_loop().time() + _CLOSE_S)
        try:
            async with asyncio.timeout(max(left_s - _MARGIN_S, _MARGIN_S)):
                await worker.close()
        except TimeoutError:
            logger.warning("there was no time to send all records", extra={"action": "close_late"})

    def _leave_now(self, code: int) -> None:
        """End every process of ours, and then this one; nothing that hangs may keep it."""
        _in_background(_LEAVING_S, functools.partial(os._exit, code))
        if self._worker is not None:
            self._worker.kill()
        for process in multiprocessing.active_children():
            process.kill()
        os._exit(code)


def _is_job(job: object) -> bool:
    """Whether it can be answered, whatever is wrong with the rest of it: whoever has no id cannot be told."""
    match job:
        case {"id": str(job_id)} if job_id:
            return True
    logger.error("the platform delivered what is no job", extra={"action": "no_job"})
    return False


def _say_failed(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a job's task failed", exc_info=error, extra={"action": "job_task_failed"})


def _in_background(after_s: float, act: Callable[[], object]) -> None:
    timer = threading.Timer(after_s, act)
    timer.daemon = True
    timer.start()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
