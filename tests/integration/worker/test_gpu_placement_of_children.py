"""Real children on recorded GPUs: what each sees, who waits, who goes, and that no seat is left behind."""

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core.clock import SystemClock
from flashtrial.core.gpu.driver import Gpu, GpuDriver, GpuHealth, GpuMemory, GpuProcess, GpuReading
from flashtrial.process.child import Child
from flashtrial.process.environment import BASE
from flashtrial.process.launch import Launcher, StartMethod
from flashtrial.process.output import OutputBuffer
from flashtrial.process.supervisor import Supervisor
from flashtrial.protocol.execution import FunctionRequest
from flashtrial.testing.gpu_driver_contract import GpuDriverContract
from flashtrial.testing.recorded_gpus import RecordedGpus
from flashtrial.worker.class_executor import ClassExecutor
from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.function_executor import FunctionExecutor
from flashtrial.worker.gpu.families import family_of
from flashtrial.worker.gpu.placement import MIB, Rules
from flashtrial.worker.gpu.policy import Placement
from flashtrial.worker.gpu.seats import GpuSeats
from flashtrial.worker.gpu.tenancy import Tenancy
from flashtrial.worker.ledger import MemoryLedger
from testkit.jobs import function_job, method_job
from testkit.waiting import wait_until_async

pytestmark = pytest.mark.integration

GPUS = tuple(Gpu(index, f"GPU-{name}", "H100", index) for index, name in enumerate("abcd"))
TOTAL = 10_000 * MIB
NEVER_S = 600.0

MODEL = """
import os, pathlib, time

class Model:
    def __init__(self, held=None, mib=0, error=None):
        self.gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
        if error:
            raise RuntimeError(error)
        if held:
            pathlib.Path(held, self.gpu, str(os.getpid())).write_text(str(mib))

    def see(self):
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    def stay(self, folder, name):
        pathlib.Path(folder, name).touch()
        while not pathlib.Path(folder, "leave-" + name).exists():
            time.sleep(0.005)
        return self.gpu

    def fail(self, text):
        raise RuntimeError(text)
"""
SEE = "import os\ndef f():\n    return [os.getpid(), os.environ.get('CUDA_VISIBLE_DEVICES')]\n"
STAY = """
import os, pathlib, time
def f(folder, name):
    pathlib.Path(folder, name).touch()
    while not pathlib.Path(folder, "leave-" + name).exists():
        time.sleep(0.005)
    return os.environ.get("CUDA_VISIBLE_DEVICES")
"""
FAIL = "import os\ndef f(text=None):\n    if text:\n        raise RuntimeError(text)\n    return os.getpid()\n"
ILLEGAL = "CUDA error: an illegal memory access was encountered"
ECC = "CUDA error: uncorrectable ECC error encountered"


def recorded(count: int, *, is_lost: bool = False) -> RecordedGpus:
    return RecordedGpus(
        [
            GpuReading(gpu, GpuMemory(TOTAL, TOTAL), processes=(), health=GpuHealth(is_lost=is_lost))
            for gpu in GPUS[:count]
        ]
    )


class ClaimedGpus:
    """GPUs whose memory is what living processes claim in files, by MiB: ``FOLDER/<uuid>/<pid>``."""

    def __init__(self, folder: Path, count: int = 1) -> None:
        self._folder = folder
        self._gpus = GPUS[:count]
        self._is_open = True
        for gpu in self._gpus:
            (folder / gpu.uuid).mkdir(parents=True, exist_ok=True)

    def gpus(self) -> tuple[Gpu, ...]:
        return self._gpus

    def read(self, gpu: Gpu) -> GpuReading:
        if gpu not in self._gpus or not self._is_open:
            return GpuReading(gpu)
        claims = {int(file.name): int(file.read_text()) * MIB for file in (self._folder / gpu.uuid).iterdir()}
        held = {pid: size for pid, size in claims.items() if Path(f"/proc/{pid}").exists()}
        processes = tuple(GpuProcess(pid, size) for pid, size in held.items())
        return GpuReading(gpu, GpuMemory(TOTAL, TOTAL - sum(held.values())), processes=processes)

    @property
    def failures(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        self._is_open = False


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    return tmp_path / "claims"


class TestClaimedGpus(GpuDriverContract):
    @pytest.fixture(autouse=True)
    def folder(self, claims: Path) -> None:
        self.claims = claims

    def driver(self) -> GpuDriver:
        return ClaimedGpus(self.claims)


class Managed:
    """A worker that places its children, and who has a seat there."""

    def __init__(self, home: Path, driver: GpuDriver, placement: Placement, method: StartMethod) -> None:
        self.tenancy = Tenancy(driver, None, Rules(placement, 500 * MIB, 500 * MIB), SystemClock())
        self.seats = GpuSeats(self.tenancy, recheck_s=NEVER_S)
        self.worker = Worker("w", home, MemoryLedger("w"), method, gpus=self.seats)

    async def see(self, instance_id: str) -> Any:
        answer = await self.worker.handle(method_job(MODEL, "Model", instance_id, "see"))
        return answer.get("json_result", answer)

    async def call(self, instance_id: str, method: str, *args: Any, **more: Any) -> dict[str, Any]:
        return await self.worker.handle(method_job(MODEL, "Model", instance_id, method, *args, **more))

    async def run(self, source: str, *args: Any) -> Any:
        answer = await self.worker.handle(function_job(source, "f", *args))
        return answer.get("json_result", answer)

    async def sitting(self) -> list[str]:
        """The names of those who have a seat, without their numbers, once all that was asked before is done."""
        tenants = self.seats._in_thread(self.tenancy.tenants)
        assert tenants is not None
        return sorted(tenant.instance_id.rpartition("#")[0] for tenant in await tenants)


@contextlib.asynccontextmanager
async def managed(
    home: Path, driver: GpuDriver, placement: Placement, method: StartMethod = StartMethod.FORK
) -> AsyncIterator[Managed]:
    """Closed at the end, and then nobody has a seat."""
    one = Managed(home, driver, placement, method)
    try:
        yield one
    finally:
        await one.worker.close()
    assert one.tenancy.tenants() == ()


async def begun(folder: Path, name: str) -> None:
    await wait_until_async((folder / name).exists, what=f"{name} to run")


async def a_wait(caplog: pytest.LogCaptureFixture, name: str) -> None:
    await wait_until_async(lambda: f"{name}#" in caplog.text and "waits for a GPU" in caplog.text)


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flashtrial")


@pytest.mark.parametrize("method", list(StartMethod))
async def test_each_exclusive_instance_sees_one_gpu_of_its_own(flashtrial_home: Path, method: StartMethod) -> None:
    async with managed(flashtrial_home, recorded(2), Placement.EXCLUSIVE, method) as one:
        assert [await one.see("first"), await one.see("second"), await one.see("first")] == ["GPU-a", "GPU-b", "GPU-a"]
        assert await one.sitting() == ["first", "second"]


async def test_a_third_waits_until_a_gpu_is_free_and_then_gets_it(
    flashtrial_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with managed(flashtrial_home, recorded(2), Placement.EXCLUSIVE) as one:
        calls = [asyncio.create_task(one.call(name, "stay", str(tmp_path), name)) for name in ("first", "second")]
        await begun(tmp_path, "first")
        await begun(tmp_path, "second")
        third = asyncio.create_task(one.see("third"))
        await a_wait(caplog, "third")
        refused = await one.call("fourth", "_private")
        assert refused["error_kind"] == "request"
        assert not third.done()
        (tmp_path / "leave-second").touch()
        second = (await calls[1])["json_result"]
        assert await third == second
        lost = await one.call("second", "see")
        assert lost["error_kind"] == "worker_lost"
        assert "another call needed its GPU" in lost["error"]
        (tmp_path / "leave-first").touch()
        assert {(await calls[0])["json_result"], second} == {"GPU-a", "GPU-b"}


async def test_an_instance_with_calls_waiting_for_it_is_not_evicted(
    flashtrial_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with managed(flashtrial_home, recorded(1), Placement.EXCLUSIVE) as one:
        running = asyncio.create_task(one.call("first", "stay", str(tmp_path), "one"))
        await begun(tmp_path, "one")
        newcomer = asyncio.create_task(one.see("second"))
        await a_wait(caplog, "second")
        queued = asyncio.create_task(one.call("first", "stay", str(tmp_path), "two"))
        (tmp_path / "leave-one").touch()
        await running
        await begun(tmp_path, "two")
        assert not newcomer.done()
        (tmp_path / "leave-two").touch()
        assert (await queued)["json_result"] == "GPU-a"
        assert await newcomer == "GPU-a"


async def test_an_idle_instance_makes_room_although_a_busy_one_came_first(
    flashtrial_home: Path, tmp_path: Path
) -> None:
    async with managed(flashtrial_home, recorded(2), Placement.EXCLUSIVE) as one:
        await one.see("busy")
        await one.see("idle")
        running = asyncio.create_task(one.call("busy", "stay", str(tmp_path), "busy"))
        await begun(tmp_path, "busy")
        assert await one.see("newcomer") == "GPU-b"
        (tmp_path / "leave-busy").touch()
        assert (await running)["json_result"] == "GPU-a"


async def test_functions_run_on_gpus_of_their_own_and_keep_their_child_and_its_gpu(
    flashtrial_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with managed(flashtrial_home, recorded(2), Placement.EXCLUSIVE) as one:
        calls = [asyncio.create_task(one.run(STAY, str(tmp_path), name)) for name in ("first", "second")]
        await begun(tmp_path, "first")
        await begun(tmp_path, "second")
        third = asyncio.create_task(one.run(SEE))
        await a_wait(caplog, "f")
        assert not third.done()
        (tmp_path / "leave-first").touch()
        (tmp_path / "leave-second").touch()
        assert {await call for call in calls} == {"GPU-a", "GPU-b"}
        assert (await third)[1] in {"GPU-a", "GPU-b"}
        warm = await one.run(SEE)
        assert [await one.run(SEE) for _ in range(3)] == [warm] * 3
        assert await one.sitting() == ["f", "f"]


async def test_a_warm_function_child_makes_room_for_an_instance_before_an_idle_instance_does(
    flashtrial_home: Path,
) -> None:
    async with managed(flashtrial_home, recorded(2), Placement.EXCLUSIVE) as one:
        assert await one.see("first") == "GPU-a"
        _pid, gpu = await one.run(SEE)
        assert gpu == "GPU-b"
        assert await one.see("second") == "GPU-b"
        assert await one.see("first") == "GPU-a"
        assert await one.sitting() == ["first", "second"]


def loading(claims: Path, mib: int) -> dict[str, Any]:
    return {"constructor_kwargs": {"held": str(claims), "mib": mib}}


async def test_instances_share_a_gpu_by_measured_memory_and_the_longest_unused_makes_room(
    flashtrial_home: Path, tmp_path: Path, claims: Path, caplog: pytest.LogCaptureFixture
) -> None:
    driver = ClaimedGpus(claims)
    more = loading(claims, 3_000)
    async with managed(flashtrial_home, driver, Placement.SHARED) as one:
        unknown = asyncio.create_task(one.call("first", "stay", str(tmp_path), "first", **more))
        await begun(tmp_path, "first")
        second = asyncio.create_task(one.call("second", "see", **more))
        await a_wait(caplog, "second")
        assert "being measured" in caplog.text
        (tmp_path / "leave-first").touch()
        info = (await unknown)["instance_info"]
        assert info["gpu_memory_bytes"] == 3_000 * MIB
        assert info["memory_bytes"] > 3_000 * MIB  # of the host and of the GPU together
        assert (await second)["instance_info"]["gpu_memory_bytes"] == 3_000 * MIB
        await one.call("third", "see", **more)
        assert await one.sitting() == ["first", "second", "third"]
        assert driver.read(GPUS[0]).memory == GpuMemory(TOTAL, 1_000 * MIB)
        assert (await one.call("fourth", "see", **more))["json_result"] == "GPU-a"
        assert await one.sitting() == ["fourth", "second", "third"]
        assert driver.read(GPUS[0]).memory == GpuMemory(TOTAL, 1_000 * MIB)
        lost = await one.call("first", "see", **more)
        assert lost["error_kind"] == "worker_lost"
        assert "another call needed its GPU" in lost["error"]


async def test_what_no_gpu_is_large_enough_for_is_refused_with_the_figures(flashtrial_home: Path, claims: Path) -> None:
    more = loading(claims, 9_800)
    async with managed(flashtrial_home, ClaimedGpus(claims), Placement.SHARED) as one:
        assert (await one.call("first", "see", **more))["success"]
        refused = await one.call("second", "see", **more)
        assert refused["error_kind"] == "request"
        assert "10,300 MiB" in refused["error"]
        assert await one.sitting() == ["first"]
        assert (await one.call("first", "see", **more))["success"]


@pytest.mark.parametrize("kind", ["function", "class"])
async def test_a_worker_without_a_sound_gpu_is_given_up(flashtrial_home: Path, kind: str) -> None:
    async with managed(flashtrial_home, recorded(2, is_lost=True), Placement.EXCLUSIVE) as one:
        job = function_job(SEE) if kind == "function" else method_job(MODEL, "Model", "first", "see")
        answer = await one.worker.handle(job)
        assert answer["error_kind"] == "worker_lost"
        assert answer["refresh_worker"] is True


async def test_a_constructor_that_fails_leaves_no_seat(flashtrial_home: Path) -> None:
    async with managed(flashtrial_home, recorded(1), Placement.EXCLUSIVE) as one:
        answer = await one.call("first", "see", constructor_kwargs={"error": "no such model"})
        assert "no such model" in answer["error"]
        assert await one.sitting() == []
        assert await one.see("first") == "GPU-a"


class FailingLauncher(Launcher):
    """Cannot make the first child."""

    has_failed = False

    async def launch(self, *args: Any, **more: Any) -> Child:
        if not self.has_failed:
            self.has_failed = True
            raise BlockingIOError("fork: Resource temporarily unavailable")
        return await super().launch(*args, **more)


@pytest.mark.parametrize("kind", ["function", "class"])
async def test_a_launch_that_fails_leaves_no_seat(flashtrial_home: Path, kind: str) -> None:
    tenancy = Tenancy(recorded(1), None, Rules(Placement.EXCLUSIVE), SystemClock())
    seats = GpuSeats(tenancy, recheck_s=NEVER_S)
    supervisor = Supervisor(FailingLauncher(dict(os.environ), StartMethod.FORK))
    executor: FunctionExecutor | ClassExecutor = FunctionExecutor(supervisor, gpus=seats)
    job = function_job(SEE)
    if kind == "class":
        executor = ClassExecutor(supervisor, MemoryLedger("w"), "w", SystemClock(), gpus=seats)
        job = method_job(MODEL, "Model", "first", "see")
    request = FunctionRequest.model_validate(job["input"])
    with pytest.raises(BlockingIOError):
        await executor.execute(request, BASE, OutputBuffer())
    async with asyncio.timeout(20):
        execution = await executor.execute(request, BASE, OutputBuffer())
    assert b"GPU-a" in bytes(getattr(execution.result, "value", b""))
    await supervisor.close()
    seats.close()
    assert tenancy.tenants() == ()


@pytest.mark.parametrize("kind", ["function", "class"])
async def test_who_is_cancelled_while_waiting_leaves_no_seat(
    flashtrial_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    async with managed(flashtrial_home, recorded(1), Placement.EXCLUSIVE) as one:
        running = asyncio.create_task(one.call("first", "stay", str(tmp_path), "first"))
        await begun(tmp_path, "first")
        job = function_job(SEE) if kind == "function" else method_job(MODEL, "Model", "second", "see")
        waiting = asyncio.create_task(one.worker.handle(job))
        await a_wait(caplog, "f" if kind == "function" else "second")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        (tmp_path / "leave-first").touch()
        await running
        assert await one.sitting() == ["first"]
        assert await one.see("second") == "GPU-a"
        assert await one.sitting() == ["second"]


async def test_a_cancelled_call_leaves_its_instance_on_its_gpu_and_a_child_that_dies_leaves_none(
    flashtrial_home: Path, tmp_path: Path
) -> None:
    async with managed(flashtrial_home, recorded(1), Placement.EXCLUSIVE) as one:
        await one.see("first")
        staying = asyncio.create_task(one.call("first", "stay", str(tmp_path), "first"))
        await begun(tmp_path, "first")
        staying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staying
        assert await one.see("first") == "GPU-a"
        staying = asyncio.create_task(one.call("first", "stay", str(tmp_path), "again"))
        await begun(tmp_path, "again")
        staying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staying
        assert await one.sitting() == ["first"]
        died = await one.run("import os\ndef f():\n    os._exit(3)\n")
        assert "exited with code 3" in died["error"]
        assert await one.sitting() == []


class TestDamage:
    """With placement unmanaged: errors are read all the same."""

    async def test_a_poisoned_instance_is_lost_with_its_reason_once_its_error_is_told(
        self, forking_worker: Worker
    ) -> None:
        await forking_worker.handle(method_job(MODEL, "Model", "i", "see"))
        answer = await forking_worker.handle(method_job(MODEL, "Model", "i", "fail", ILLEGAL))
        assert answer["error_kind"] == "user_code"
        assert ILLEGAL in answer["error"]
        assert "refresh_worker" not in answer
        lost = await forking_worker.handle(method_job(MODEL, "Model", "i", "see"))
        assert lost["error_kind"] == "worker_lost"
        assert f"left its process unusable: RuntimeError: {ILLEGAL}" in lost["error"]

    async def test_a_poisoned_function_child_takes_no_further_call(self, forking_worker: Worker) -> None:
        pids = []
        for text in ("CUDA out of memory", ILLEGAL, None):
            pids.append((await forking_worker.handle(function_job(FAIL)))["json_result"])
            if text:
                assert text in (await forking_worker.handle(function_job(FAIL, "f", text)))["error"]
        assert pids[0] == pids[1]
        assert pids[1] != pids[2]

    async def test_a_poisoned_child_leaves_its_gpu(self, flashtrial_home: Path) -> None:
        async with managed(flashtrial_home, recorded(1), Placement.EXCLUSIVE) as one:
            assert ILLEGAL in (await one.run(FAIL, ILLEGAL))["error"]
            assert await one.sitting() == []
            await one.see("i")
            await one.call("i", "fail", ILLEGAL)
            assert await one.sitting() == []

    @pytest.mark.parametrize("job", [function_job(FAIL, "f", ECC), method_job(MODEL, "Model", "i", "fail", ECC)])
    async def test_a_broken_device_has_its_worker_refreshed(self, forking_worker: Worker, job: dict[str, Any]) -> None:
        answer = await forking_worker.handle(job)
        assert answer["refresh_worker"] is True
        assert ECC in answer["error"]


UNMANAGED = """
import asyncio, json, sys
from flashtrial.core import log
from flashtrial.worker import entrypoint

log.configure()

async def main():
    jobs = json.loads(sys.argv[1])
    return [await entrypoint.handler(job) for job in jobs]

answers = asyncio.run(main())
gpu = [name for name in sys.modules if name.startswith(("pynvml", "flashtrial.worker.gpu.", "flashtrial.core.gpu."))]
print(json.dumps([[answer["json_result"] for answer in answers], sorted(gpu)]))
"""


def in_a_fresh_worker(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    jobs = json.dumps([function_job("def f():\n    return 1\n"), method_job(MODEL, "Model", "i", "see")])
    return subprocess.run(
        [sys.executable, "-c", UNMANAGED, jobs],
        env={**os.environ, "FLASHTRIAL_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_worker_that_manages_no_gpus_loads_nothing_for_them(flashtrial_home: Path) -> None:
    done = in_a_fresh_worker(flashtrial_home, CUDA_VISIBLE_DEVICES="7")
    assert done.returncode == 0, done.stderr
    # the texts of errors, and the names of the policies; no driver, no thread, no NVML
    light = [f"flashtrial.worker.gpu.{name}" for name in ("damage", "policy")]
    assert done.stdout.splitlines()[-1] == f'[[1, "7"], {light}]'.replace("'", '"')


def test_a_managed_worker_without_gpus_serves_all_the_same_and_says_so(flashtrial_home: Path) -> None:
    done = in_a_fresh_worker(flashtrial_home, FLASHTRIAL_GPU_PLACEMENT="shared", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith('[[1, ""]')
    assert "no GPU to place calls on (shared)" in done.stderr


def test_the_family_of_a_process_is_all_that_came_from_it() -> None:
    script = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); "
        "print(p.pid, flush=True); sys.stdin.read(); p.kill(); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert family_of(parent.pid) == [parent.pid, child]
        assert child in family_of(os.getpid())
    assert family_of(parent.pid) == [parent.pid]
