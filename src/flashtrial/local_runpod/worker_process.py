"""One worker: a process that runs the handler under the SDK's real loop, in a session of its own, ended as a group."""

import asyncio
import contextlib
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flashtrial.core import env
from flashtrial.core.clock import SystemClock
from flashtrial.core.files import OWNER_ONLY_FILE, ensure_private_dir
from flashtrial.server.access.tokens import Grant, Scope, mint

PARENT_PID = "FLASHTRIAL_PARENT_PID"
DRAIN = "FLASHTRIAL_DRAIN_S"
GRACE_S = 5.0  # from the signal to leave until a worker is killed
_TO_CLOSE_S = 2.0  # of those, what a worker needs after its last answer to end its children
PING_INTERVAL_MS = 2000
TRACKING_TOKEN_S = 30 * 24 * 3600.0
LOGS_KEPT_S = 7 * 24 * 3600
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Assignment:
    """Whom a worker works for and how it reaches us: with `token` the queue, with `tracking_token` the server."""

    worker_id: str
    endpoint_id: str
    base_url: str
    key: str
    token: str
    tracking_token: str


def tracking_token(key: str, worker_id: str) -> str:
    """What a worker shows to the tracking server: good for writing, and for longer than a worker lives."""
    return mint(key, Grant(worker_id, frozenset({Scope.WRITE}), TRACKING_TOKEN_S), SystemClock().time_ms())


def client_urls(base_url: str) -> dict[str, str]:
    """The variables that lead the SDKs' clients here; code on a worker that calls other endpoints means ours.

    Without them it would show our key to the cloud.
    """
    return {
        "RUNPOD_API_BASE_URL": base_url,
        "RUNPOD_ENDPOINT_BASE_URL": f"{base_url}/v2",
        "RUNPOD_REST_API_URL": f"{base_url}/v1",
        "RUNPOD_HAPI_URL": base_url,
        "RUNPOD_CONSOLE_URL": base_url,
    }


def worker_environment(
    base: Mapping[str, str], template: Mapping[str, str], home: Path, assignment: Assignment, concurrency: int
) -> dict[str, str]:
    """The environment of a worker: the base's, over it the template's, over both what makes it ours.

    Source of the ``RUNPOD_`` names: ``runpod.serverless.modules`` 1.12, which puts the ids in at the dollar signs.
    """
    endpoint_url = f"{assignment.base_url}/v2/{assignment.endpoint_id}"
    query = f"token={assignment.token}"
    defaults = {"PYTHONUNBUFFERED": "1", "RUNPOD_DEBUG_LEVEL": "INFO"}
    return {
        **defaults,
        **base,
        **template,
        # the SDK's ping process would look for us through a proxy
        **env.around_proxies({**base, **template}, _LOOPBACK),
        **client_urls(assignment.base_url),
        env.HOME: str(home),
        env.URL: assignment.base_url,
        env.TOKEN: assignment.tracking_token,  # not one that whoever started the instance may have for another server
        env.CONCURRENCY: str(concurrency),
        DRAIN: f"{GRACE_S - _TO_CLOSE_S:g}",
        env.WORKER_ID: assignment.worker_id,
        PARENT_PID: str(os.getpid()),
        "RUNPOD_WEBHOOK_GET_JOB": f"{endpoint_url}/job-take/$ID?{query}",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{endpoint_url}/job-done/$RUNPOD_POD_ID/$ID?{query}",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{endpoint_url}/job-stream/$RUNPOD_POD_ID/$ID?{query}",
        "RUNPOD_WEBHOOK_PING": f"{endpoint_url}/ping/$RUNPOD_POD_ID?{query}",
        "RUNPOD_PING_INTERVAL": str(PING_INTERVAL_MS),
        "RUNPOD_POD_ID": assignment.worker_id,
        "RUNPOD_ENDPOINT_ID": assignment.endpoint_id,
        "RUNPOD_AI_API_KEY": assignment.key,
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
    }


class WorkerProcess:
    """A running worker process. Its scratch directory lives as long as it does, its log stays."""

    def __init__(self, process: Process, scratch: Path) -> None:
        self._process = process
        self._scratch = scratch

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], scratch: Path, log_path: Path
    ) -> "WorkerProcess":
        """The process, running. Raises `OSError` when the command cannot be run."""
        ensure_private_dir(scratch)
        ensure_private_dir(log_path.parent)
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, OWNER_ONLY_FILE)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=log, stderr=STDOUT, cwd=scratch, env=environment, start_new_session=True
            )
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        finally:
            os.close(log)
        return cls(process, scratch)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """The exit status (negative: the signal), once the process has ended and its whole group with it."""
        status = await self._process.wait()
        # The SDK's ping process outlives a worker that was killed.
        self._signal_group(signal.SIGKILL)
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
        return status

    async def end(self, grace_s: float) -> None:
        """Ask the process to leave, and after `grace_s` seconds make it. Somebody else awaits `wait`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await self._process.wait()
        except TimeoutError:
            self._signal_group(signal.SIGKILL)
            await self._process.wait()

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def exit_story(status: int) -> str:
    """How a process ended, in words for the user."""
    if status >= 0:
        return f"its process ended with exit code {status}"
    name = signal.Signals(-status).name if -status in signal.valid_signals() else "unknown"
    hint = "; the machine might have run out of memory" if -status == signal.SIGKILL else ""
    return f"its process was ended by signal {-status} ({name}){hint}"


def log_tail(path: Path, limit_bytes: int = 64 * 1024) -> list[str]:
    """The last lines of a worker's log; none where there is none."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - limit_bytes))
            lines = log.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return lines[1:] if size > limit_bytes else lines  # the first is torn


def sweep_leftovers(scratches: Path, logs: Path, now_s: float) -> None:
    """Take away the scratch directories of a life that was cut short, and workers' logs that nobody reads any more."""
    shutil.rmtree(scratches, ignore_errors=True)
    for log in logs.glob("worker-*.log"):
        with contextlib.suppress(FileNotFoundError):
            if now_s - log.stat().st_mtime > LOGS_KEPT_S:
                log.unlink()
