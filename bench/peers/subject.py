"""The jobs that every tracker is given, in a process of its own; the standard library alone.

Usage of the scripts beside: with_NAME.py JOB DIRECTORY RESULT CALLS SECONDS

- log: the caller's time of CALLS logs of ten floats, then of logs of 1,000 names; each stops after SECONDS;
- kill: CALLS logs (or what SECONDS allow), then SIGKILL to itself, helpers left alone;
- finish: the same, then the time until `finish` returns;
- count: how many of the logs are there to be read now.
"""

import json
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Log = Callable[[dict[str, float], int], object]
Finish = Callable[[], object]
TEN = {f"train/metric_{number}": number / 7 for number in range(10)}
WIDE = {f"layer_{number}/norm": number / 7 for number in range(1_000)}
WARM_CALLS = 100


def timed(log: Log, values: dict[str, float], first: int, calls: int, most_s: float) -> list[int]:
    """Nanoseconds of each call, of `calls` or as many as begin within `most_s`, in ascending order."""
    taken: list[int] = []
    deadline = time.perf_counter_ns() + int(most_s * 1e9)
    begun = time.perf_counter_ns()
    while len(taken) < calls and begun < deadline:
        log(values, first + len(taken))
        ended = time.perf_counter_ns()
        taken.append(ended - begun)
        begun = time.perf_counter_ns()
    return sorted(taken)


def log_job(log: Log, calls: int, most_s: float) -> dict[str, Any]:
    warm = len(timed(log, TEN, 0, WARM_CALLS, most_s / 2))
    ten = timed(log, TEN, warm, calls, most_s)
    first_wide = warm + len(ten)
    timed(log, WIDE, first_wide, 2, most_s)
    wide = timed(log, WIDE, first_wide + 2, 20, most_s)
    return {
        "p50_us": statistics.median(ten) / 1e3,
        "p99_us": ten[math.ceil(0.99 * len(ten)) - 1] / 1e3,
        "calls": len(ten),
        "wide_p50_us": statistics.median(wide) / 1e3,
    }


def main(opened: Callable[[Path], tuple[Log, Finish]], count: Callable[[Path], int]) -> None:
    """`opened` begins a run in a directory and gives its `log` and its `finish`."""
    job, directory, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    calls, most_s = int(sys.argv[4]), float(sys.argv[5])
    if job == "count":
        result.write_text(json.dumps({"count": count(directory)}))
        return
    log, finish = opened(directory)
    if job == "log":
        result.write_text(json.dumps(log_job(log, calls, most_s)))
        os._exit(0)  # how long it takes to end is another figure
    taken = timed(log, TEN, 0, calls, most_s)
    if job == "kill":
        result.write_text(json.dumps({"calls": len(taken)}))
        os.kill(os.getpid(), signal.SIGKILL)
    begun = time.perf_counter()
    finish()
    result.write_text(json.dumps({"calls": len(taken), "finish_s": time.perf_counter() - begun}))
