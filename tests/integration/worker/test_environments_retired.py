"""What a worker keeps ready for an environment goes when nobody uses it, and the layer may then be removed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flashtrial.core import files
from flashtrial.process.environment_use import KeepLimits
from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.instances import InstanceLimits
from flashtrial.worker.layers import IN_USE
from flashtrial.worker.ledger import MemoryLedger
from flashtrial.worker.worker_settings import WorkerSettings
from testkit.calls import is_alive
from testkit.jobs import function_job, method_job
from testkit.waiting import wait_until_async
from testkit.wheels import make_wheel, offline

pytestmark = pytest.mark.integration

WHERE = "import os\ndef f(name):\n    return [__import__(name).__file__, os.getpid(), os.getppid()]\n"
HOLDER = "import os\nclass Holder:\n    def pid(self):\n        return os.getpid()\n"


@pytest.fixture(autouse=True)
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in offline(tmp_path / "links").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UV_CACHE_DIR")
    for name in ("tiny", "small"):
        make_wheel(tmp_path / "links", name)
    return tmp_path / "links"


def built(home: Path, limits: KeepLimits) -> Worker:
    return Worker("w", home, MemoryLedger("w"), settings=WorkerSettings(keep_limits=limits))


@pytest.fixture
async def hasty(flashtrial_home: Path) -> AsyncIterator[Worker]:
    """A worker that keeps nothing ready for longer than a moment."""
    worker = built(flashtrial_home, KeepLimits(idle_s=0.2, max_idle=None))
    yield worker
    await worker.close()


@pytest.fixture
async def frugal(flashtrial_home: Path) -> AsyncIterator[Worker]:
    """A worker that keeps one idle environment ready."""
    worker = built(flashtrial_home, KeepLimits(idle_s=None, max_idle=1))
    yield worker
    await worker.close()


def using(name: str) -> dict[str, object]:
    return function_job(WHERE, "f", name, dependencies=[name])


def deaf(source: str) -> str:
    """`source`, so that its process takes the whole grace to end."""
    return "import signal\n" + source.replace("return", "signal.signal(signal.SIGTERM, signal.SIG_IGN); return")


def is_held(layer: Path) -> bool:
    """Whether a process keeps the layer from being removed."""
    try:
        with files.file_lock(layer / IN_USE, wait=False):
            return False
    except files.Locked:
        return True


async def test_an_idle_environment_gives_up_its_processes_and_its_layer_and_works_again(hasty: Worker) -> None:
    place, child, template = (await hasty.handle(using("tiny")))["json_result"]
    layer = Path(place).parents[1]
    await wait_until_async(lambda: not is_alive(child) and not is_alive(template), 10, "the processes to go")
    await wait_until_async(lambda: not is_held(layer), 10, "the layer to be let go")
    again, other_child, _ = (await hasty.handle(using("tiny")))["json_result"]
    assert (again, other_child == child) == (place, False)
    assert is_held(layer)


async def test_the_least_recently_used_environment_makes_room(frugal: Worker) -> None:
    _, first, template = (await frugal.handle(using("tiny")))["json_result"]
    _, second, _ = (await frugal.handle(using("small")))["json_result"]
    await wait_until_async(lambda: not is_alive(first) and not is_alive(template), 10, "the older one to go")
    assert is_alive(second)
    assert (await frugal.handle(using("small")))["json_result"][1] == second


async def test_what_a_call_or_an_instance_uses_stays(hasty: Worker) -> None:
    job = method_job(HOLDER, "Holder", "h", "pid", dependencies=["tiny"])
    held = (await hasty.handle(job))["json_result"]
    sleeps = "import time, os\ndef f():\n    time.sleep(0.8)\n    return os.getppid()\n"
    template = (await hasty.handle(function_job(sleeps, dependencies=["small"])))["json_result"]
    assert isinstance(template, int)
    assert is_alive(held)
    assert (await hasty.handle(job))["json_result"] == held


async def test_a_request_that_comes_while_its_environment_is_given_up_is_served(flashtrial_home: Path) -> None:
    worker = built(flashtrial_home, KeepLimits(idle_s=0.0))  # after each call the environment is given up
    for _ in range(10):
        answers = await asyncio.gather(*(worker.handle(using("tiny")) for _ in range(2)))
        assert all(answer["success"] for answer in answers), answers
    await worker.close()


async def test_a_worker_that_ends_waits_for_an_instance_that_nobody_used(
    flashtrial_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = InstanceLimits(idle_s=0.0)
    worker = Worker("w", flashtrial_home, MemoryLedger("w"), settings=WorkerSettings(instance_limits=limits))
    with caplog.at_level("INFO", "flashtrial"):
        child = (await worker.handle(method_job(deaf(HOLDER), "Holder", "h", "pid")))["json_result"]
        while "evicted" not in caplog.text:
            await asyncio.sleep(0)
    await asyncio.sleep(0)  # its end begins, and takes the grace that a child gets
    await worker.close()
    assert not is_alive(child)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_worker_that_ends_waits_for_what_it_is_giving_up(flashtrial_home: Path) -> None:
    worker = built(flashtrial_home, KeepLimits(idle_s=0.0))
    job = function_job(deaf(WHERE), "f", "tiny", dependencies=["tiny"])
    place, child, template = (await worker.handle(job))["json_result"]
    await asyncio.sleep(0)  # the giving up begins, and takes the grace that a child gets
    await worker.close()
    assert not is_alive(child)
    assert not is_alive(template)
    assert not is_held(Path(place).parents[1])
    assert asyncio.all_tasks() == {asyncio.current_task()}
