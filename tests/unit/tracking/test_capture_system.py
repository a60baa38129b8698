"""System figures: fixed names, real psutil, recorded GPUs, and samplers that fail each alone."""

import logging
import math
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core.gpu.driver import Gpu, GpuHealth, GpuMemory, GpuReading
from flashtrial.testing.recorded_gpus import RecordedGpus
from flashtrial.tracking.capture.cgroups import Cgroups
from flashtrial.tracking.capture.figures import GPU_FIGURES, SYSTEM_FIGURES
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.capture.monitor import SystemMonitor, Watch
from flashtrial.tracking.capture.samplers import (
    CpuSampler,
    GpuSampler,
    MemorySampler,
    Rate,
    Sampler,
    machine_samplers,
)
from flashtrial.tracking.journal.outbox import JournalClosed
from flashtrial.tracking.settings.resolution import EffectiveSettings, resolve
from testkit import wait_until

REFERENCE = Path(__file__).parents[3] / "docs" / "reference-system-metrics.md"
GIB = 1024**3


class Host:
    """A run as its parts see it."""

    id = "run_1"
    is_owner = True

    def __init__(self, *, is_owner: bool = True) -> None:
        self.is_owner = is_owner
        self.bodies: list[Mapping[str, Any]] = []
        self.is_closed = False
        self.masks = Masks()

    @property
    def settings(self) -> EffectiveSettings:
        return resolve(None, {})

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        if self.is_closed:
            raise JournalClosed
        assert kind == "system"
        self.bodies.append(body)

    def also_wait_for(self, writer_id: str, last_seq: int) -> None:
        raise NotImplementedError


class Broken:
    name = "broken"

    def sample(self) -> dict[str, float]:
        raise OSError("no such sensor")

    def close(self) -> None:
        raise OSError("not even that")


def test_the_reference_lists_every_figure_with_the_same_words() -> None:
    documented = dict(
        re.findall(r"^\| `(sys/[^`]+)` \| (.+?) \|$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert documented == {**SYSTEM_FIGURES, **GPU_FIGURES}


def test_every_name_ends_with_its_unit() -> None:
    units = ("percent", "bytes", "bytes_per_second", "count", "celsius", "watts")
    assert [
        name for name in (*SYSTEM_FIGURES, *GPU_FIGURES) if not name.endswith(tuple(f"_{unit}" for unit in units))
    ] == []


def test_this_machine_has_all_figures_at_the_second_look() -> None:
    watch = Watch(sampler for sampler in machine_samplers() if sampler.name != "gpu")
    watch.sample()
    figures = watch.sample()
    absent = SYSTEM_FIGURES.keys() - figures.keys()
    assert absent <= {"sys/disk.read_bytes_per_second", "sys/disk.written_bytes_per_second"}, (
        "some kernels do not count"
    )
    assert figures.keys() <= SYSTEM_FIGURES.keys()
    assert all(math.isfinite(value) and value >= 0 for value in figures.values())
    assert 0 < figures["sys/memory.used_bytes"] <= figures["sys/memory.total_bytes"]
    assert figures["sys/process.rss_bytes"] > 1_000_000
    assert figures["sys/process.threads_count"] >= 1
    assert 0 <= figures["sys/cpu.utilization_percent"] <= 100


def test_in_a_container_its_limits_are_the_whole(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    (tmp_path / "memory.max").write_text(f"{2 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\n")
    cgroups = Cgroups(tmp_path, tmp_path / "membership")
    memory, cpu = MemorySampler(cgroups), CpuSampler(cgroups)
    assert memory.sample()["sys/memory.utilization_percent"] == 50.0
    assert "sys/cpu.utilization_percent" not in cpu.sample()
    (tmp_path / "cpu.stat").write_text("usage_usec 9000000\n")
    assert cpu.sample()["sys/cpu.utilization_percent"] == 100.0, "eight seconds' work of half a CPU in no time"
    assert cpu.sample()["sys/cpu.usable_count"] == 0.5


def test_a_rate_needs_two_looks_and_a_counter_that_grows() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])
    assert rate.per_second(100) is None
    now[0] = 2.0
    assert rate.per_second(300) == 100.0
    now[0] = 3.0
    assert rate.per_second(5) is None, "the counter was set back"


def gpus(monkeypatch: pytest.MonkeyPatch, visible: str | None = None) -> GpuSampler:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    first = GpuReading(
        Gpu(0, "GPU-a", "H100", 0), GpuMemory(80 * GIB, 60 * GIB), 97, 71, 640.5, (), GpuHealth(False, 0, 2)
    )
    second = GpuReading(Gpu(1, "GPU-b", "H100", 1), GpuMemory(80 * GIB, 80 * GIB))
    return GpuSampler(lambda: RecordedGpus([first, second]))


def test_gpus_are_told_by_the_driver_and_what_it_does_not_say_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = gpus(monkeypatch).sample()
    assert figures["sys/gpu.0.utilization_percent"] == 97.0
    assert figures["sys/gpu.0.memory_used_bytes"] == 20.0 * GIB
    assert "sys/gpu.1.utilization_percent" not in figures
    assert {re.sub(r"gpu\.\d", "gpu.{index}", name) for name in figures} <= GPU_FIGURES.keys()


def test_a_gpu_that_this_process_may_not_use_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name[:9] for name in gpus(monkeypatch, "1").sample()} == {"sys/gpu.1"}
    assert gpus(monkeypatch, "").sample() == {}


@pytest.mark.parametrize("place", range(len(list(machine_samplers())) - 1))
def test_each_sampler_fails_alone_and_says_so_once(place: int, caplog: pytest.LogCaptureFixture) -> None:
    samplers: list[Sampler] = [sampler for sampler in machine_samplers() if sampler.name != "gpu"]
    left_out = samplers[place].sample().keys()
    samplers[place] = Broken()
    watch = Watch(samplers)
    with caplog.at_level(logging.WARNING):
        watch.sample()
        figures = watch.sample()
        watch.close()
    assert figures
    assert not figures.keys() & left_out
    assert [record.getMessage() for record in caplog.records] == ["no figures of the broken: OSError: no such sensor"]


def test_the_monitor_samples_at_once_and_again_until_it_is_closed() -> None:
    host, monitor = Host(), SystemMonitor(0.05, lambda: [MemorySampler()])
    monitor.start(host)
    wait_until(lambda: len(host.bodies) >= 3)
    monitor.close(5.0)
    count = len(host.bodies)
    assert set(host.bodies[0]["values"]) <= SYSTEM_FIGURES.keys()
    monitor.close(5.0)
    assert len(host.bodies) == count


def is_monitored() -> bool:
    return any(thread.name == "flashtrial-monitor" for thread in threading.enumerate())


def test_a_sampler_that_hangs_does_not_hold_up_the_end() -> None:
    class Hanging(Broken):
        def sample(self) -> dict[str, float]:
            begun.set()
            may_end.wait(30)
            ended.set()
            return {}

    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()
    monitor = SystemMonitor(0.05, lambda: [Hanging()])
    monitor.start(Host())
    assert begun.wait(30)
    monitor.close(0.01)
    assert not ended.is_set()
    may_end.set()
    wait_until(lambda: not is_monitored())


def test_a_monitor_whose_run_is_gone_ends() -> None:
    host, monitor = Host(), SystemMonitor(0.05, lambda: [MemorySampler()])
    host.is_closed = True
    monitor.start(host)
    wait_until(lambda: not is_monitored(), what="the monitor to end by itself")
    monitor.close(5.0)
    assert host.bodies == []


def test_a_guest_and_a_fork_watch_nothing() -> None:
    host, monitor = Host(is_owner=False), SystemMonitor(0.05, lambda: [MemorySampler()])
    monitor.start(host)
    assert not is_monitored()
    monitor.renew_after_fork()
    monitor.close(5.0)
    assert not is_monitored()
