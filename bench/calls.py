"""P1, P2, P3, P6, P9: what isolation costs a call, against the same work done in this process.

Usage: calls.py [--quick] [--only P1,P9]

The floor of P1 is decode, call, encode in process with cloudpickle and base64. Every figure is measured in one run, in
turn with its floor, so that the ratio holds when the machine's speed drifts.
"""

import asyncio
import base64
import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from benchkit.program import Options, main
from benchkit.rows import Row
from benchkit.timing import p50_p99
from flashtrial.process.environment import BASE
from flashtrial.process.launch import Launcher, StartMethod
from flashtrial.worker.base_executor import call_spec
from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.ledger import MemoryLedger

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
from pathlib import Path
def f(begun):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    Path(begun).touch()
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


def row(row_id: str, what: str, ours: list[float], floor: list[float] | None, goal: str, **limits: float) -> Row:
    """`limits`: the most that `ratio` to the floor, `p50_s` or `p99_s` may be."""
    p50, p99 = p50_p99(ours)
    base = statistics.median(floor) if floor else None
    found = {"p50_s": p50, "p99_s": p99} | ({"ratio": p50 / base} if base else {})
    met = all(found[name] <= most for name, most in limits.items())
    shown = f"{p50 * 1e6:,.0f} / {p99 * 1e6:,.0f} µs"
    told = f"in process {base * 1e6:,.0f} µs" if base else ""
    return Row(row_id, f"{what}, p50 / p99", shown, told, {}, found.get("ratio"), goal, met)


async def warm_calls(worker: Worker, options: Options) -> AsyncIterator[Row]:
    argument = encoded(5)
    job = {"input": {"function_name": "f", "function_code": SOURCE, "args": [argument]}}
    for _ in range(50):
        await worker.handle(job)
    rounds = 300 if options.quick else 3000
    timed = await in_turn(rounds, lambda: worker.handle(job), lambda: in_process(argument))
    yield row("P1", "warm call of a function", *timed, "p50 ≤ 10 x, p99 ≤ 2 ms", ratio=10, p99_s=0.002)
    of_functions_s = statistics.median(timed[0])
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
    yield row("P2", "method of an instance", *timed, "p50 ≤ P1", p50_s=of_functions_s)


async def large_payload(worker: Worker, options: Options) -> AsyncIterator[Row]:
    size = 10 if options.quick else 100
    array = np.random.default_rng(0).integers(0, 255, size * 1024 * 1024, dtype=np.uint8)
    argument = encoded(array)
    source = "def f(array):\n    return array\n"
    job = {"input": {"function_name": "f", "function_code": source, "kwargs": {"array": argument}}}
    floor = lambda: base64.b64encode(cloudpickle.dumps(cloudpickle.loads(base64.b64decode(argument)))).decode()  # noqa: E731
    timed = await in_turn(5, lambda: worker.handle(job), floor)
    yield row("P3", f"array of {size} MiB in and out", *timed, "p50 ≤ 0.7 x", ratio=0.7)


async def fresh_children(_worker: Worker, options: Options) -> AsyncIterator[Row]:
    spec = call_spec_of("import numpy\ndef f():\n    return 1\n")
    for method in StartMethod:
        launcher = Launcher(dict(os.environ), method)
        seconds = []
        for _ in range(3 if options.quick or method is StartMethod.SPAWN else 30):
            start = time.perf_counter()
            child = await launcher.launch(BASE, spec.source, (), holds_instance=False)
            await child.call(spec, Nowhere())
            seconds.append(time.perf_counter() - start)
            await child.end()
        what = f"fresh child ({method}), numpy imported, first call done"
        limits = {} if method is StartMethod.SPAWN else {"p50_s": 0.010}
        made = row("P6", what, seconds[1:], None, "p50 ≤ 10 ms" if limits else "", **limits)
        yield made if limits else dataclasses.replace(made, met=None)
        launcher.close()


async def hard_cancels(worker: Worker, options: Options) -> AsyncIterator[Row]:
    """A loop in C that ignores TERM: the time from cancel to the end of its process."""
    seconds = []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(3 if options.quick else 60):
            begun = Path(directory) / str(number)
            asked = {"function_name": "f", "function_code": STUBBORN, "args": [encoded(str(begun))]}
            call = asyncio.create_task(worker.handle({"input": asked}))
            while not begun.exists() and not call.done():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.005)
            start = time.perf_counter()
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            seconds.append(time.perf_counter() - start)
    what = "hard cancel of a C loop that ignores every signal it can"
    yield row("P9", what, seconds, None, "p99 ≤ 1 s", p99_s=1.0)


def call_spec_of(source: str) -> Any:
    from flashtrial.protocol.execution import FunctionRequest  # noqa: PLC0415

    return call_spec(FunctionRequest(function_name="f", function_code=source))


class Nowhere:
    streams = False

    def output(self, data: bytes) -> None: ...

    def yielded(self, value: bytes) -> None: ...


Part = Callable[[Worker, Options], AsyncIterator[Row]]


def with_worker(part: Part) -> Callable[[Options], Iterator[Row]]:
    """A measure that has a worker of its own."""

    async def rows(options: Options) -> list[Row]:
        with tempfile.TemporaryDirectory() as home:
            worker = Worker("bench", Path(home), MemoryLedger("bench"))
            try:
                return [made async for made in part(worker, options)]
            finally:
                await worker.close()

    return lambda options: iter(asyncio.run(rows(options)))


MEASURES = (
    ("P1 P2", with_worker(warm_calls)),
    ("P3", with_worker(large_payload)),
    ("P6", with_worker(fresh_children)),
    ("P9", with_worker(hard_cancels)),
)

if __name__ == "__main__":
    main(MEASURES, __doc__)
