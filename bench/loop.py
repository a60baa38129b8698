"""P7 and P8: how soon a worker is ready, and how many jobs a second go through the SDK's real loop.

Usage: python bench/loop.py [--jobs N] [--rounds N]

Everything is measured in turn in one run, on one machine, against the same scripted platform (`testing.job_platform`):

- floor: one thread that takes each job and posts its answer over one connection, and runs nothing;
- peer: the SDK's own loop around a handler that returns at once, in its own process, at concurrency 1 and 8;
- ours: `src/handler.py`, which runs each job's function in a child process.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flashtrial.testing.job_platform import JobPlatform, Kind, job_platform

ROOT = Path(__file__).resolve().parents[1]
HANDLER = ROOT / "src" / "handler.py"
PEER = """
import os, runpod
async def handler(job):
    return {"success": True, "stdout": ""}
concurrency = int(os.environ["CONCURRENCY"])
runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _current: concurrency})
"""
TRIVIAL = {"function_name": "f", "function_code": "def f():\n    return 1\n", "serialization_format": "json"}
LONG_S = 3.0
LONG = {
    "function_name": "f",
    "function_code": f"import time\ndef f():\n    time.sleep({LONG_S})\n    return 1\n",
    "serialization_format": "json",
}
DEADLINE_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="jobs of one measurement at full speed")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    starts = [measure_start() for _ in range(options.rounds)]
    rows = [(name, statistics.median(one[name] for one in starts)) for name in starts[0]]
    print("| P7 | seconds, median |\n|---|---|")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.2f} |")
    print("\n| P8 | jobs/s | of the floor |\n|---|---|---|")
    floor = floor_rate(options.jobs)
    print(f"| floor: take and answer over one connection, nothing run | {floor:.0f} | 1.0 |")
    for name, command, concurrency, jobs in (
        ("peer: the SDK's loop, handler that returns at once, concurrency 1", peer(), 1, 8),
        ("peer: the same, concurrency 8", peer(), 8, options.jobs // 4),
        ("flashtrial, each job in a child, one slot", ours(), 1, options.jobs),
        ("flashtrial, 8 slots", ours(), 8, options.jobs),
    ):
        rate = loop_rate(command, concurrency, jobs)
        print(f"| {name} | {rate:.1f} | {rate / floor:.3f} |", flush=True)
    for name, command in (
        ("peer, 2 workers of concurrency 8", peer(long=True)),
        ("flashtrial, 2 workers of 1 slot", ours()),
    ):
        print(f"| {name}: 2 long jobs started after | {spread(command, 8 if 'peer' in name else 1)} |", flush=True)


def ours() -> list[str]:
    return [sys.executable, str(HANDLER)]


def peer(*, long: bool = False) -> list[str]:
    source = (
        PEER.replace("    return", f"    import asyncio; await asyncio.sleep({LONG_S})\n    return") if long else PEER
    )
    return [sys.executable, "-c", source]


@contextlib.contextmanager
def worker(platform: JobPlatform, command: list[str], worker_id: str, concurrency: int) -> Iterator[None]:
    """A worker process in a home of its own; the platform holds its poll when the block begins."""
    with tempfile.TemporaryDirectory(prefix="flashtrial-bench-") as scratch:
        environment = {
            **os.environ,
            **platform.environment(worker_id),
            "FLASHTRIAL_HOME": f"{scratch}/home",
            "FLASHTRIAL_CONCURRENCY": str(concurrency),
            "CONCURRENCY": str(concurrency),
            "LOG_LEVEL": "WARNING",
        }
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=scratch,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            platform.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a worker did not do what was waited for")
        time.sleep(0.002)


def measure_start() -> dict[str, float]:
    """P7, one round: seconds from the start of a process."""
    bare = timed_run("pass")
    return {
        "floor: bare Python": bare,
        "import handler": timed_run(f"import sys; sys.path.insert(0, {str(HANDLER.parent)!r}); import handler"),
        "floor: import runpod": timed_run("import runpod"),
        "peer: first answer of the SDK's loop": first_answer(peer()),
        "flashtrial: first answer, its child started": first_answer(ours()),
    }


def timed_run(source: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", source], check=True)
    return time.monotonic() - began


def first_answer(command: list[str]) -> float:
    with job_platform() as platform:
        platform.submit("first", TRIVIAL)
        began = time.monotonic()
        with worker(platform, command, "bench", 1):
            until(lambda: platform.answer("first") is not None)
            return platform.heard(Kind.DONE)[0].at_s - began


def floor_rate(jobs: int) -> float:
    """Jobs a second of a client that does nothing but take and answer."""
    with job_platform() as platform:
        for number in range(jobs):
            platform.submit(f"job-{number}", TRIVIAL)
        connection = http.client.HTTPConnection(platform.url.removeprefix("http://"))
        began = time.monotonic()
        for _ in range(jobs):
            connection.request("GET", "/job-take/floor?gpu=none")
            job_id = json.loads(connection.getresponse().read())["id"]
            connection.request("POST", f"/job-done/floor/{job_id}", b'{"output": 1}')
            connection.getresponse().read()
        rate = jobs / (time.monotonic() - began)
        connection.close()
        return rate


def loop_rate(command: list[str], concurrency: int, jobs: int) -> float:
    """Jobs a second of a warm worker."""
    with job_platform() as platform, worker(platform, command, "bench", concurrency):
        for number in range(2 * concurrency):
            platform.submit(f"warm-{number}", TRIVIAL)
        until(lambda: len(platform.heard(Kind.DONE)) == 2 * concurrency)
        began = time.monotonic()
        for number in range(jobs):
            platform.submit(f"job-{number}", TRIVIAL)
        until(lambda: len(platform.heard(Kind.DONE)) == 2 * concurrency + jobs)
        return jobs / (time.monotonic() - began)


def spread(command: list[str], concurrency: int) -> str:
    """When two long jobs began, seconds after they were submitted to two idle workers, and on how many workers."""
    with (
        job_platform() as platform,
        worker(platform, command, "bench-1", concurrency),
        worker(platform, command, "bench-2", concurrency),
    ):
        until(lambda: platform.open_polls == 2)
        began = time.monotonic()
        for number in range(2):
            platform.submit(f"long-{number}", LONG)
        until(lambda: len(platform.heard(Kind.DONE)) == 2)
        starts = sorted(one.at_s - LONG_S - began for one in platform.heard(Kind.DONE))
        workers = len({one.worker_id for one in platform.heard(Kind.DONE)})
        return f"{starts[0]:.2f} s and {starts[1]:.2f} s, on {workers} workers"


if __name__ == "__main__":
    main()
