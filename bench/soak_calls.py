"""Group A of the fault matrix, many times over: misbehaving calls on one worker, each followed by one that must work.

Usage: soak_calls.py [--calls N] [--seed S]

Prints what was done, how many of the following calls worked, how long the first answer after each misbehaviour took,
and what was left behind: processes, descriptors.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from flashtrial.core import env
from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.ledger import MemoryLedger
from testkit.jobs import function_job
from testkit.misbehaviour import ENDINGS, ODD

FINE = function_job("def f():\n    return 'fine'\n")
LANES = 3


async def lane(worker: Worker, rng: random.Random, calls: int, tally: Counter[str], waits: list[float]) -> None:
    """Misbehave, then ask for the ordinary, again and again."""
    for _ in range(calls):
        job = misbehaviour(rng)
        if rng.random() < 0.2:
            job["input"]["timeout_s"] = rng.uniform(0.001, 0.05)
        answer = await maybe_cancelled(worker, job, rng)
        tally["success" if answer.get("success") else str(answer.get("error_kind"))] += 1
        start = time.perf_counter()
        following = await worker.handle(FINE)
        waits.append(time.perf_counter() - start)
        tally["following call worked" if following.get("json_result") == "fine" else "FOLLOWING CALL FAILED"] += 1


def misbehaviour(rng: random.Random) -> dict[str, Any]:
    return function_job(rng.choice([row[1] for row in (*ENDINGS, *ODD) if "50_000_000" not in row[1]]))


async def maybe_cancelled(worker: Worker, job: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    call = asyncio.create_task(worker.handle(job))
    if rng.random() < 0.2:
        await asyncio.sleep(rng.uniform(0, 0.02))
        call.cancel()
    try:
        return await call
    except asyncio.CancelledError:
        return {"error_kind": "cancelled by us"}


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def children() -> int:
    return sum(len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir())


async def main(calls: int, seed: int) -> int:
    tally: Counter[str] = Counter()
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        env.set_all({env.HOME: home})
        worker = Worker("soak", Path(home), MemoryLedger("soak"))
        await worker.handle(FINE)
        before = descriptors()
        rngs = [random.Random(seed * LANES + number) for number in range(LANES)]
        await asyncio.gather(*(lane(worker, rng, calls // LANES, tally, waits) for rng in rngs))
        during = descriptors()
        await worker.close()
    waits.sort()
    scenarios = f"seed {seed}, {len(ENDINGS) + len(ODD)} scenarios, {LANES} at once"
    print(f"| misbehaving calls | {len(waits)} ({scenarios}) |\n|---|---|")
    for name, count in sorted(tally.items()):
        print(f"| {name} | {count} |")
    print(
        f"| answer after a misbehaviour, p50 / p99 / max | {_ms(waits, 0.5)} / {_ms(waits, 0.99)} / {_ms(waits, 1.0)} |"
    )
    print(f"| descriptors before, at the end | {before}, {during} |")
    print(f"| processes left after close | {children()} |")
    return 1 if tally["FOLLOWING CALL FAILED"] or children() else 0


def _ms(seconds: list[float], share: float) -> str:
    return f"{seconds[int(share * (len(seconds) - 1))] * 1e3:.0f} ms"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.calls, given.seed)))
