"""P7 and P8: how soon a worker is ready, and how many jobs a second go through the SDK's real loop.

Usage: loop.py [--quick] [--only P7]

Everything is measured in turn in one run, on one machine, against the same scripted platform (`testing.job_platform`):

- floor: one thread that takes each job and posts its answer over one connection, and runs nothing;
- peer: the SDK's own loop around a handler that returns at once, in its own process, at concurrency 1 and 8;
- ours: `src/handler.py`, which runs each job's function in a child process.
"""

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

from benchkit.program import Options, main
from benchkit.rows import Row
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


def starts(options: Options) -> Iterator[Row]:
    """P7: medians of rounds in which each is started once."""
    rounds = [measure_start() for _ in range(1 if options.quick else 3)]
    took = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    bare, imported, sdk, peer_first, first = took.values()
    floor = f"bare Python {bare:.2f} s<br>`import runpod` {sdk:.2f} s"
    yield Row("P7", "`import handler`", f"{imported:.2f} s", floor, {}, imported / bare, "≤ 0.5 s", imported <= 0.5)
    theirs = {"the SDK's loop, empty handler": f"{peer_first:.2f} s"}
    goal, met = "≤ the SDK's + 0.3 s", first <= peer_first + 0.3
    yield Row("P7", "first answer, its child started", f"{first:.2f} s", "", theirs, first / peer_first, goal, met)


def rates(options: Options) -> Iterator[Row]:
    """P8: jobs a second, medians of rounds in turn."""
    jobs = 40 if options.quick else 200
    loops = {
        "peer1": (peer(), 1, 8),
        "peer8": (peer(), 8, jobs // 4),
        "ours1": (ours(), 1, jobs),
        "ours8": (ours(), 8, jobs),
    }
    taken: dict[str, list[float]] = {name: [] for name in ("floor", *loops)}
    for _ in range(1 if options.quick else 2):
        taken["floor"].append(floor_rate(jobs))
        for name, (command, concurrency, count) in loops.items():
            taken[name].append(loop_rate(command, concurrency, count))
    rate = {name: statistics.median(each) for name, each in taken.items()}
    theirs = {"SDK's loop, concurrency 1:": f"{rate['peer1']:.1f}", "concurrency 8:": f"{rate['peer8']:.1f}"}
    floor = f"take and answer, nothing run {rate['floor']:,.0f}"
    for name, what in (("ours1", "one slot"), ("ours8", "8 slots")):
        over_peer = rate[name] / rate["peer1"]
        goal, met = "≥ 6.6 x the SDK's at concurrency 1", over_peer >= 6.6
        yield Row("P8", f"jobs/s, each in a child, {what}", f"{rate[name]:.1f}", floor, theirs, over_peer, goal, met)


def spreads(_options: Options) -> Iterator[Row]:
    """P8: whether two long jobs go to two workers."""
    theirs = {"SDK's loop, concurrency 8:": told(spread(peer(long=True), 8))}
    mine = spread(ours(), 1)
    what = "2 workers, 2 long jobs: both started after"
    yield Row("P8", what, told(mine), "", theirs, goal="both within 2 s", met=mine[1] <= 2 and mine[2] == 2)


def told(found: tuple[float, float, int]) -> str:
    return f"{found[0]:.2f} s and {found[1]:.2f} s, on {found[2]} workers"


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


def spread(command: list[str], concurrency: int) -> tuple[float, float, int]:
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
        return starts[0], starts[1], workers


MEASURES = (("P7", starts), ("P8", rates), ("P8", spreads))

if __name__ == "__main__":
    main(MEASURES, __doc__)
