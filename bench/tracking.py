"""P10, P11, P22: what tracking costs the training that is tracked.

Usage: tracking.py [--quick]

The floor of P10 is what a careful script does by hand: one JSON line by the standard library, one `write`. Both are
measured in turn, call by call, so that the ratio holds when the machine's speed drifts. What `log` promises is that
the death of the process loses nothing that it returned from (the death of the machine may): so survivors of SIGKILL
are counted for both.
"""

import contextlib
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import flashtrial
from flashtrial.core import env
from flashtrial.protocol.records import read_frames
from flashtrial.tracking.journal_reader import JournalReader

QUICK = "--quick" in sys.argv
CALLS = 3_000 if QUICK else 20_000
KILLED_AFTER = 2_000 if QUICK else 10_000
SYNCED = 2_000 if QUICK else 10_000

PLAIN = {f"train/metric_{number}": number / 7 for number in range(10)}
MIXED = {
    **{f"train/metric_{number}": number / 7 for number in range(6)},
    "nan": float("nan"),
    "inf": float("inf"),
    "scalar": np.float32(1 / 7),
    "nested": {"value": 1 / 7},
}

KILLED = """
import json, os, signal, sys
import flashtrial
run = flashtrial.init(settings={"outbox": sys.argv[1]})
with open(sys.argv[1] + "/floor.jsonl", "ab", buffering=0) as floor:
    for step in range(int(sys.argv[2])):
        run.log({"loss": step / 7}, step=step)
        floor.write((json.dumps({"step": step, "loss": step / 7}) + "\\n").encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""

SYNCING = """
import sys, time
import flashtrial
run = flashtrial.init(project="bench")
values = {f"metric_{number}": number / 7 for number in range(10)}
begun = time.perf_counter()
for step in range(int(sys.argv[1])):
    run.log(values, step=step)
logged = time.perf_counter()
report = run.finish()
print(logged - begun, time.perf_counter() - logged, report.sent, report.written)
"""


def row(name: str, ours: str, floor: str, ratio: float | None, goal: str) -> None:
    print(f"| {name} | {ours} | {floor} | {'' if ratio is None else f'{ratio:.2f}'} | {goal} |", flush=True)


def by_hand(descriptor: int, step: int, values: dict[str, Any]) -> None:
    """The floor of P10."""
    line = json.dumps({"step": step, "time": time.time(), "values": values}, default=lambda scalar: scalar.item())
    os.write(descriptor, f"{line}\n".encode())


def log_and_floor(run: flashtrial.Run, floor: int, values: dict[str, Any], calls: int) -> tuple[list[int], list[int]]:
    """Nanoseconds of each call of both, in ascending order."""
    ours, theirs = [], []
    for step in range(calls):
        begun = time.perf_counter_ns()
        run.log(values, step=step)
        between = time.perf_counter_ns()
        by_hand(floor, step, values)
        theirs.append(time.perf_counter_ns() - between)
        ours.append(between - begun)
    return sorted(ours), sorted(theirs)


def quantiles(nanoseconds: list[int]) -> str:
    p50, p99 = statistics.median(nanoseconds), nanoseconds[int(0.99 * (len(nanoseconds) - 1))]
    return f"{p50 / 1e3:.1f} / {p99 / 1e3:.1f} µs"


def log_calls(directory: Path) -> None:
    """P10: the caller's time."""
    run = flashtrial.init(settings={"outbox": directory})
    floor = os.open(directory / "floor.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for name, values in (("ten floats", PLAIN), ("ten with NaN, Inf, numpy, nested", MIXED)):
        log_and_floor(run, floor, values, 200)
        ours, theirs = log_and_floor(run, floor, values, CALLS)
        ratio = statistics.median(ours) / statistics.median(theirs)
        row(f"P10 log of {name}, p50 / p99", quantiles(ours), quantiles(theirs), ratio, "≤ 0.5, p99 ≤ 100 µs")
    for count in (1_000, 10_000):
        wide = {f"layer_{number}/norm": number / 7 for number in range(count)}
        ours, theirs = log_and_floor(run, floor, wide, 30)
        ratio = statistics.median(ours) / statistics.median(theirs)
        row(f"P10 log of {count:,} names, p50 / p99", quantiles(ours), quantiles(theirs), ratio, "linear")
    os.close(floor)
    run.finish()


def survivors(directory: Path) -> None:
    """P10: what is whole on the disk when the process was killed right after the last call."""
    command = [sys.executable, "-c", KILLED, str(directory), str(KILLED_AFTER)]
    ended = subprocess.run(command, env={**env.snapshot(), env.WORKER_ID: "bench"}, check=False)
    assert ended.returncode == -signal.SIGKILL
    [journal] = directory.glob("*.journal")
    stretch = JournalReader.open(journal).read(0, 1 << 30)
    assert stretch is not None
    kept = sum(1 for _ in read_frames(stretch.data)) - 1  # the first record opens the run
    by_hand_kept = len((directory / "floor.jsonl").read_bytes().splitlines())
    row("P10 survivors of SIGKILL", f"{kept / KILLED_AFTER:.0%}", f"{by_hand_kept / KILLED_AFTER:.0%}", None, "100%")


@contextlib.contextmanager
def instance(home: Path) -> Iterator[None]:
    """A server of its own home; the sync process finds it there."""
    command = [sys.executable, "-m", "flashtrial.cli"]
    environment = {**env.snapshot(), env.HOME: str(home)}
    up = [*command, "up", "--detach", "--no-runpod", "--port", "0"]
    subprocess.run(up, env=environment, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*command, "down"], env=environment, check=True, capture_output=True)


def sync(directory: Path) -> None:
    """P11: from the last `log` to all of it committed at the server."""
    environment = {**env.snapshot(), env.HOME: str(directory / "home")}
    with instance(directory / "home"):
        command = [sys.executable, "-c", SYNCING, str(SYNCED)]
        answers = [
            subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
            for _ in range(3)
        ]
    assert all(sent == written for _, _, sent, written in answers)
    ours_s = statistics.median(float(finish_s) for _, finish_s, _, _ in answers)
    floor_s = statistics.median(insert_s(directory / f"floor-{number}.db") for number in range(3))
    name = f"P11 finish() after {SYNCED:,} logs of ten (floor: the same points into SQLite, one commit)"
    row(name, f"{ours_s:.2f} s", f"{floor_s:.2f} s", ours_s / floor_s, "≤ 1 s for 10,000")


def insert_s(path: Path) -> float:
    """Seconds to put the points of P11 into a table, in one transaction and with one prepared statement."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE points (series, step, time_ms, value, PRIMARY KEY (series, step)) WITHOUT ROWID"
        )
        begun = time.perf_counter()
        connection.execute("BEGIN")
        for series in range(10):
            points = ((series, step, 1_700_000_000_000 + step, step / 7) for step in range(SYNCED))
            connection.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", points)
        connection.execute("COMMIT")
        return time.perf_counter() - begun


def import_time() -> None:
    """P22: what the import costs over a Python that does nothing."""
    codes = {"bare": "pass", "import": "import flashtrial", "init": "from flashtrial import init"}
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(5 if QUICK else 15):
        for name, code in codes.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds[name].append(time.perf_counter() - begun)
    bare, *ours = (1e3 * statistics.median(seconds[name]) for name in codes)
    for what, took in zip(("import flashtrial", "from flashtrial import init"), ours, strict=True):
        row(f"P22 {what}, over bare Python", f"{took - bare:.0f} ms", f"{bare:.0f} ms", None, "≤ 60 ms over")


def main() -> None:
    print("| what | ours | floor | ratio | goal |\n|---|---|---|---|---|")
    env.set_all({env.WORKER_ID: "bench"})  # nothing is started beside the measurement
    for measure in (log_calls, survivors):
        with tempfile.TemporaryDirectory() as directory:
            measure(Path(directory))
    os.environ.pop(env.WORKER_ID)
    with tempfile.TemporaryDirectory() as directory:
        sync(Path(directory))
    import_time()


if __name__ == "__main__":
    main()
