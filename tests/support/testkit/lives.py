"""Whole lives of a worker in one process, and what each leaves behind: the measure of leaks.

A life is: built, called in several ways, ended in one of several ways. What is measured between two lives has no
business to grow: a straight line through it has no slope.
"""

import asyncio
import gc
import os
import random
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from flashtrial.process.memory import resident_bytes
from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.ledger import FileLedger
from flashtrial.worker.sync_keeper import SyncKeeper
from testkit.jobs import function_job, method_job
from testkit.waiting import wait_until

WARM_UP = 5  # lives in which imports, caches and the allocator come to their size

_COUNTER = "class Counter:\n    def one(self):\n        return 1\n"
_TRACKED = "import flashtrial\ndef f():\n    flashtrial.init().log({'loss': 1.0})\n"
_ENDLESS = "def f():\n    while True:\n        pass\n"
_DAEMON = "import subprocess\ndef f():\n    subprocess.Popen(['sleep', '99'], start_new_session=True)\n"


@dataclass(frozen=True, slots=True)
class Held:
    """What this process has between two lives."""

    descriptors: int
    processes: int
    threads: int
    objects: int
    resident_bytes: int


def live(rng: random.Random, home: Path) -> None:
    """One life, in an event loop of its own. Raises AssertionError when a call is not answered as it should be."""
    asyncio.run(_life(rng, home))


async def _life(rng: random.Random, home: Path) -> None:
    keeper = SyncKeeper(home / "no-outbox")
    keeper.start()
    worker = Worker("worker", home, FileLedger(home / "instances", "worker"))
    try:
        await _calls(rng, worker)
        if rng.random() < 0.3:
            await _cut_off(worker)
    finally:
        if rng.random() < 0.2:
            worker.kill()  # as at the second signal
        await worker.close()
        keeper.stop()


async def _calls(rng: random.Random, worker: Worker) -> None:
    jobs = [
        function_job("def f():\n    return 1\n"),
        function_job("import os\ndef f():\n    os._exit(3)\n"),
        function_job(_TRACKED),
        function_job(_DAEMON),
        function_job("def f():\n    return 'x' * 200_000\n"),
        function_job(_ENDLESS, timeout_s=0.05),
        method_job(_COUNTER, "Counter", f"counter-{rng.random()}", "one"),
    ]
    for answer in await asyncio.gather(*map(worker.handle, rng.sample(jobs, 3))):
        assert answer["success"] or answer["error_kind"] in ("user_code", "timeout"), answer


async def _cut_off(worker: Worker) -> None:
    """End the worker in the middle of a call."""
    call = asyncio.create_task(worker.handle(function_job(_ENDLESS)))
    await asyncio.wait({call}, timeout=0.05)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


def children() -> frozenset[psutil.Process]:
    """The processes that descend from this one."""
    return frozenset(psutil.Process().children(recursive=True))


def held(others: frozenset[psutil.Process] = frozenset()) -> Held:
    """What there is now, less the processes of `others`; those that are about to end are waited for."""
    wait_until(lambda: not children() - others, 10, "the end of all processes")
    gc.collect()
    return Held(
        descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - the count is all
        processes=len(children() - others),
        threads=threading.active_count(),
        objects=sum(not isinstance(thing, Held) for thing in gc.get_objects()),  # the measure itself grows
        resident_bytes=resident_bytes(os.getpid()) or 0,
    )


def slopes(measured: Sequence[Held]) -> dict[str, float]:
    """By how much each figure grows from one life to the next: least squares, the warm-up left out."""
    rows = [asdict(one) for one in measured[WARM_UP:]]
    return {name: _slope([row[name] for row in rows]) for name in rows[0]}


def _slope(values: Sequence[float]) -> float:
    middle = (len(values) - 1) / 2
    mean = sum(values) / len(values)
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * (value - mean) for place, value in enumerate(values)) / spread
