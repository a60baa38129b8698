"""A worker as the platform runs it: ``src/handler.py`` in a process, the SDK's real loop, a scripted platform."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from flashtrial.testing.job_platform import JobPlatform
from testkit.waiting import wait_until

HANDLER = Path(__file__).parents[3] / "src" / "handler.py"
START_S = 45.0
CALL_S = 30.0


class LoopWorker:
    """A running worker process and the platform that it works for."""

    def __init__(self, process: "subprocess.Popen[bytes]", platform: JobPlatform, worker_id: str, log: Path) -> None:
        self.process = process
        self.platform = platform
        self.id = worker_id
        self.log = log

    def wait_for_polls(self, count: int = 1) -> None:
        """Return once the platform holds so many polls of workers that want a job."""
        wait_until(lambda: self.platform.open_polls >= count or self._is_over(), START_S, "the worker to poll")
        assert self.process.poll() is None, self.log.read_text()

    def answer(self, job_id: str, timeout_s: float = CALL_S) -> dict[str, Any]:
        """The body of the job's answer."""
        found = wait_until(lambda: self.platform.answer(job_id), timeout_s, f"an answer to {job_id}; {self.log}")
        assert found is not None
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self, timeout_s: float = CALL_S) -> int:
        return self.process.wait(timeout_s)

    def family(self) -> list[psutil.Process]:
        """The worker and all that it started, as of now."""
        leader = psutil.Process(self.process.pid)
        return [leader, *leader.children(recursive=True)]

    def _is_over(self) -> bool:
        return self.process.poll() is not None


def wait_until_gone(family: list[psutil.Process], timeout_s: float = 10.0) -> None:
    """Return once none of these processes is alive."""
    wait_until(lambda: not any(_is_alive(one) for one in family), timeout_s, f"the end of {family}")


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def loop_worker(
    platform: JobPlatform, home: Path, worker_id: str = "worker-1", **variables: str
) -> Iterator[LoopWorker]:
    """A worker process; killed with all that it started at the end of the block, if it is still there."""
    log = home.parent / f"{worker_id}.log"
    environment = {**os.environ, "FLASHTRIAL_HOME": str(home), **platform.environment(worker_id), **variables}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(HANDLER)], env=environment, stdout=out, stderr=out, start_new_session=True
        )
    worker = LoopWorker(process, platform, worker_id, log)
    try:
        yield worker
    finally:
        family = worker.family() if process.poll() is None else []
        for one in family:
            if _is_alive(one):
                one.kill()
        process.wait()
        wait_until_gone(family)


def function(source: str, *args: Any, **more: Any) -> dict[str, Any]:
    """A job's input that calls `f` of `source` with JSON arguments."""
    request = {"function_name": "f", "function_code": source, "args": list(args), "serialization_format": "json"}
    return {**request, **more}


# A call that says that it runs, and then waits for leave to go on.
WAITS = """
import os, time
def f(begun, leave):
    print("begun", flush=True)
    with open(begun, "a") as file:
        file.write("x")
    while not os.path.exists(leave):
        time.sleep(0.01)
    return "waited"
"""

ENDLESS = """
def f(begun):
    print("begun", flush=True)
    with open(begun, "a") as file:
        file.write("x")
    while True:
        pass
"""

STUBBORN = """
import ctypes, signal
def f(begun):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    with open(begun, "a") as file:
        file.write("x")
    while True:
        ctypes.CDLL(None).sleep(1000)
"""
