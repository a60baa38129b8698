"""P1, P2, P3, P6, P9: what isolation costs a call, against the same work done in this process.

Usage: calls.py [--quick]

The floor of P1 is decode, call, encode in process with cloudpickle and base64. Every figure is measured in one run, in
turn with its floor, so that the ratio holds when the machine's speed drifts.
"""

import asyncio
import base64
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from flashtrial.core import env
from flashtrial.process.environment import BASE
from flashtrial.process.launch import Launcher, StartMethod
from flashtrial.worker.base_executor import call_spec
from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.ledger import MemoryLedger

QUICK = "--quick" in sys.argv
SOURCE = "def f(x):\n    return x\n"
COUNTER = """
class C:
    def __init__(self):
        self.n = 0
    def add(self, x):
        self.n += x
        return self.n
"""
STUBBORN = """
import signal
def f():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sum(range(10**12))
"""


def encoded(value: Any) -> str:
    return base64.b64encode(cloudpickle.dumps(value)).decode()


def in_process(argument: str) -> str:
    """The floor: what any worker must do, without a worker around it."""
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    value = namespace["f"](cloudpickle.loads(base64.b64decode(argument)))
    return base64.b64encode(cloudpickle.dumps(value)).decode()


CODE = compile(SOURCE, "<floor>", "exec")


async def in_turn(
    rounds: int, ours: Callable[[], Awaitable[Any]], floor: Callable[[], Any]
) -> tuple[list[float], list[float]]:
    """Seconds of each of `rounds` calls of both, one after the other."""
    mine, theirs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        await ours()
        middle = time.perf_counter()
        floor()
        theirs.append(time.perf_counter() - middle)
        mine.append(middle - start)
    return mine, theirs


def row(name: str, ours: list[float], floor: list[float] | None, goal: str) -> None:
    ours = sorted(ours)
    p50, p99 = statistics.median(ours), ours[int(0.99 * (len(ours) - 1))]
    ratio = f"{p50 / statistics.median(floor):.1f} x floor {statistics.median(floor) * 1e6:.0f} µs" if floor else ""
    print(f"| {name} | {p50 * 1e6:,.0f} µs | {p99 * 1e6:,.0f} µs | {ratio} | {goal} |")


async def warm_calls(worker: Worker) -> None:
    argument = encoded(5)
    job = {"input": {"function_name": "f", "function_code": SOURCE, "args": [argument]}}
    for _ in range(50):
        await worker.handle(job)
    rounds = 300 if QUICK else 3000
    row(
        "P1 warm function call",
        *await in_turn(rounds, lambda: worker.handle(job), lambda: in_process(argument)),
        "≤ 10 x",
    )
    method = {
        "execution_type": "class",
        "class_name": "C",
        "class_code": COUNTER,
        "instance_id": "c",
        "create_new_instance": False,
        "method_name": "add",
        "args": [argument],
    }
    await worker.handle({"input": method})
    timed = await in_turn(rounds, lambda: worker.handle({"input": method}), lambda: in_process(argument))
    row("P2 method of an instance", *timed, "≤ P1")


async def large_payload(worker: Worker) -> None:
    size = 10 if QUICK else 100
    array = np.random.default_rng(0).integers(0, 255, size * 1024 * 1024, dtype=np.uint8)
    argument = encoded(array)
    source = "def f(array):\n    return array\n"
    job = {"input": {"function_name": "f", "function_code": source, "kwargs": {"array": argument}}}
    floor = lambda: base64.b64encode(cloudpickle.dumps(cloudpickle.loads(base64.b64decode(argument)))).decode()  # noqa: E731
    row(f"P3 array of {size} MiB in and out", *await in_turn(3, lambda: worker.handle(job), floor), "≤ 0.7 x")


async def fresh_children() -> None:
    spec = call_spec_of("import numpy\ndef f():\n    return 1\n")
    for method in StartMethod:
        launcher = Launcher(dict(os.environ), method)
        seconds = []
        for _ in range(3 if QUICK or method is StartMethod.SPAWN else 30):
            start = time.perf_counter()
            child = await launcher.launch(BASE, spec.source, (), holds_instance=False)
            await child.call(spec, Nowhere())
            seconds.append(time.perf_counter() - start)
            await child.end()
        row(f"P6 fresh child ({method}), numpy imported, first call done", seconds[1:], None, "≤ 10 ms")
        launcher.close()


async def hard_cancels(worker: Worker) -> None:
    """A loop in C that ignores TERM: the time from cancel to the end of its process."""
    seconds = []
    for _ in range(3 if QUICK else 100):
        call = asyncio.create_task(worker.handle({"input": {"function_name": "f", "function_code": STUBBORN}}))
        await asyncio.sleep(0.05)
        start = time.perf_counter()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        seconds.append(time.perf_counter() - start)
    row("P9 hard cancel of a C loop that ignores every signal it can", seconds, None, "p99 ≤ 1 s")


def call_spec_of(source: str) -> Any:
    from flashtrial.protocol.execution import FunctionRequest  # noqa: PLC0415

    return call_spec(FunctionRequest(function_name="f", function_code=source))


class Nowhere:
    streams = False

    def output(self, data: bytes) -> None: ...

    def yielded(self, value: bytes) -> None: ...


async def main() -> None:
    print("| what | p50 | p99 | against | goal |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        env.set_all({env.HOME: home})
        worker = Worker("bench", Path(home), MemoryLedger("bench"))
        await warm_calls(worker)
        await large_payload(worker)
        await fresh_children()
        await hard_cancels(worker)
        await worker.close()


asyncio.run(main())
