"""Group E of the fault matrix: kills of writers, the sync process and the server at random moments, under load.

Usage: python bench/soak_tracking.py [--kills N] [--inside N] [--seed S] [--writers W]

Each writer logs hundreds of times a second, and after each `log` that returned it counts in memory that outlives it.
Journals go on in small segments, so that kills meet those changes, too. At the end all is sent, and of each run it is
asked what the server has: by `flashtrial verify` (its code), by the counted calls, and by its points, which have to be
0, 1, 2 … with the values that were logged. A record that `log` had returned for and that is not there is lost; more
points than calls are doubled; other values are spoiled; a journal set aside is torn; a run that is not interrupted when
its killed writer's last record is there has no end. Exit status 1 for any of these.

With ``--inside N`` the server alone is killed, until N of its deaths fell inside an ingest request: it counts
the requests that it has begun and not answered in shared memory, and is stopped before that is read, and then killed.
"""

import argparse
import contextlib
import itertools
import json
import mmap
import os
import random
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import uvicorn

import flashtrial
from flashtrial.cli.verify import audit
from flashtrial.core import env
from flashtrial.server.app import create_app
from flashtrial.server.settings import database_of
from flashtrial.server.views import read_runs
from flashtrial.tracking.api import init as _init  # loaded before the forks  # noqa: F401
from flashtrial.tracking.backends.native import INGEST_PATH
from flashtrial.tracking.journal.progress import read_status
from flashtrial.tracking.journal.segments import list_segments
from flashtrial.tracking.journal.sync_start import ensure_sync_process

SETTINGS = {
    "FLASHTRIAL_SEGMENT_BYTES": "16384",
    "FLASHTRIAL_CONSOLE": "false",
    "FLASHTRIAL_SYSTEM_MONITOR": "false",
    "FLASHTRIAL_FACTS": "false",
}
MOST_PAUSE_S = 0.5
PAUSE_OF_WRITERS_S = 0.001
DRAIN_DEADLINE_S = 300.0
MOST_POINTS = 100_000  # that the server gives of one curve at once
SLOT_BYTES = 8
REQUEST_WAIT_S = 60.0
MOST_OF_A_REQUEST_S = 0.02
INSIDE = "server, inside an ingest request"
OUTSIDE = "server"


@dataclass(slots=True)
class Soak:
    """One home with a server and writers, children of this process, and a sync process that its files name."""

    home: Path
    port: int
    rng: random.Random
    counters: mmap.mmap
    at_work: mmap.mmap  # the ingest requests that the server has begun and not answered, and whether it answered any
    app: Any
    writers: dict[int, int] = field(default_factory=dict)  # pid: run number
    server_pid: int = 0
    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def outbox(self) -> Path:
        return self.home / "outbox"

    def start_server(self) -> None:
        self.at_work[0] = self.at_work[1] = 0
        self.server_pid = forked(lambda: serve(self.port, self.app))

    def start_writer(self) -> None:
        number, self.runs = self.runs, self.runs + 1
        self.writers[forked(lambda: write(number, self.counters))] = number

    def kill_somebody(self) -> None:
        victim = self.rng.choice(("writer", "sync process", "server"))
        match victim:
            case "writer":
                pid = self.rng.choice(list(self.writers))
                del self.writers[pid]
                kill_child(pid)
                self.start_writer()
            case "server":
                self.kill_server()
                return
            case _ if not self.kill_sync_process():
                return
        self.kills[victim] += 1

    def kill_server(self) -> None:
        """Kill it and start another; what it was doing is looked up while it stands still."""
        os.kill(self.server_pid, signal.SIGSTOP)
        os.waitpid(self.server_pid, os.WUNTRACED)
        self.kills[INSIDE if self.at_work[0] else OUTSIDE] += 1
        kill_child(self.server_pid)
        self.start_server()

    def kill_server_in_a_request(self) -> None:
        """Kill it some milliseconds after it has begun with a request: it may have answered that by then.

        Not with its first one: nothing would ever be stored, and the waits of the sync process would grow.
        """
        deadline = time.monotonic() + REQUEST_WAIT_S
        while not (self.at_work[0] and self.at_work[1]) and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(self.rng.uniform(0, MOST_OF_A_REQUEST_S))
        self.kill_server()

    def kill_sync_process(self) -> bool:
        """Whether there was one. The next writer to look starts another; at the latest we do."""
        status = read_status(self.outbox)
        with contextlib.suppress(psutil.Error):
            if status is not None and str(self.outbox) in psutil.Process(status.pid).cmdline():
                os.kill(status.pid, signal.SIGKILL)
                ensure_sync_process(self.outbox, env.snapshot())
                return True
        ensure_sync_process(self.outbox, env.snapshot())
        return False

    def end_writers(self) -> None:
        for pid in self.writers:
            kill_child(pid)
        self.writers.clear()

    def wait_until_sent(self) -> bool:
        """Whether all was sent, and the server knows of each writer's death: then no journal is left."""
        deadline = time.monotonic() + DRAIN_DEADLINE_S
        while list_segments(self.outbox) and time.monotonic() < deadline:
            ensure_sync_process(self.outbox, env.snapshot())
            time.sleep(0.2)
        return not list_segments(self.outbox)

    def points(self, number: int, name: str) -> list[float]:
        """All values of a curve at the server, which must be up: so many steps at once as come unthinned."""
        values: list[float] = []
        for start in itertools.count(0, MOST_POINTS):
            steps = f"start={start}&end={start + MOST_POINTS - 1}&points={MOST_POINTS}"
            path = f"/api/v1/runs/run_{number}/metrics?name={name}&{steps}"
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
                points = json.load(answer)["points"]
            values += [value for _, _, value in points]
            if not points:
                return values
        raise AssertionError("the steps have an end")

    def end(self) -> None:
        self.end_writers()
        if self.server_pid:
            kill_child(self.server_pid)
        status = read_status(self.outbox)
        with contextlib.suppress(psutil.Error):
            if status is not None and str(self.outbox) in (process := psutil.Process(status.pid)).cmdline():
                process.kill()
                process.wait(10)

    def called(self, number: int) -> int:
        """How many calls of `log` have returned in that run."""
        return int.from_bytes(self.counters[number * SLOT_BYTES : (number + 1) * SLOT_BYTES], "little")


def forked(job: Callable[[], None]) -> int:
    """The pid of a child of this process that does `job` and nothing else."""
    pid = os.fork()
    if pid:
        return pid
    try:
        job()
    finally:
        os._exit(1)


def kill_child(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def counting(app: Any, at_work: mmap.mmap) -> Any:
    """`app`, which keeps count of the ingest requests that it has begun and not answered."""

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        is_counted = scope.get("path") == INGEST_PATH
        at_work[0] += is_counted
        try:
            await app(scope, receive, send)
        finally:
            at_work[0] -= is_counted
            at_work[1] |= is_counted

    return counted


def serve(port: int, app: Any) -> None:
    listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
    config = uvicorn.Config(app, log_level="critical", ws="none", loop="asyncio")
    uvicorn.Server(config).run([listener])


def write(number: int, counters: mmap.mmap) -> None:
    run = flashtrial.init(run_id=f"run_{number}", resume=False)
    for count in range(1 << 40):
        run.log({"count": count, "loss": count / 7})
        counters[number * SLOT_BYTES : (number + 1) * SLOT_BYTES] = (count + 1).to_bytes(SLOT_BYTES, "little")
        if count % 2 == 0:
            time.sleep(PAUSE_OF_WRITERS_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def spoiled_points(soak: Soak) -> int:
    """How many points at the server are not those that were logged, each in its place. The server must be up."""
    spoiled = 0
    for number in range(soak.runs):
        if soak.called(number):
            counts, losses = soak.points(number, "count"), soak.points(number, "loss")
            spoiled += sum(value != place for place, value in enumerate(counts))
            spoiled += sum(value != place / 7 for place, value in enumerate(losses)) + abs(len(counts) - len(losses))
    return spoiled


def figures(soak: Soak) -> Counter[str]:
    """What became of all calls, by the server's own count and by that of `flashtrial verify`."""
    runs = {run["id"]: run for run in read_all_runs(soak.home)}
    found: Counter[str] = Counter()
    for number in range(soak.runs):
        run_id, called = f"run_{number}", soak.called(number)
        run = runs.get(run_id, {"points": {}, "status": None})
        stored = run["points"].get("count", 0)
        found["without an end"] += called > 0 and run["status"] != "interrupted"
        found["calls of log that returned"] += called
        found["lost"] += max(called - stored, 0)
        found["doubled"] += max(stored - called - 1, 0)  # one may have been written and not have returned
        if called:
            counted = audit(soak.home, soak.outbox, run_id)
            found["missing by verify"] += counted.missing
            found["doubled by verify"] += counted.doubled
            found["refused"] += counted.refused
    found["torn"] = sum(1 for _ in soak.outbox.glob("*.damaged"))
    return found


def read_all_runs(home: Path) -> list[dict[str, Any]]:
    return [dict(run) for run in read_runs(database_of(home))]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--inside", type=int, default=0, help="kill the server alone, so often inside a request")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--writers", type=int, default=3)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        port = free_port()
        env.set_all({**SETTINGS, env.HOME: home, env.URL: f"http://127.0.0.1:{port}"})
        counters = mmap.mmap(-1, SLOT_BYTES * (said.kills + said.writers + 1))
        at_work = mmap.mmap(-1, 2)
        app = counting(create_app(), at_work)  # it opens nothing before it serves: each server is a fork of this one
        soak = Soak(Path(home), port, random.Random(said.seed), counters, at_work, app)
        begun = time.monotonic()
        try:
            soak.start_server()
            for _ in range(said.writers):
                soak.start_writer()
            while soak.kills[INSIDE] < said.inside:
                soak.kill_server_in_a_request()
            while not said.inside and soak.kills.total() < said.kills:
                time.sleep(soak.rng.uniform(0, MOST_PAUSE_S))
                soak.kill_somebody()
            soak.end_writers()
            is_complete = soak.wait_until_sent()
            spoiled = spoiled_points(soak)
        finally:
            soak.end()
        found = figures(soak)
        found["spoiled"] = spoiled
        print(f"{soak.kills.total()} kills in {time.monotonic() - begun:.0f} s: {dict(soak.kills)}, {soak.runs} runs")
        print(", ".join(f"{name}: {count}" for name, count in found.items()), f"; all sent: {is_complete}", flush=True)
    bad = ("lost", "doubled", "missing by verify", "doubled by verify", "refused", "torn", "spoiled", "without an end")
    return 0 if is_complete and not any(found[name] for name in bad) else 1


if __name__ == "__main__":
    sys.exit(main())
