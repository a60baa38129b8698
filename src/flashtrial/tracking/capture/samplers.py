"""One look at a part of the machine each: CPU, memory, disk, network, this process, GPUs.

A sampler may raise whatever psutil, a file or a driver raises; who asks it lets the others go on. Rates come from
differences between two looks, so that a first look has none. psutil and pynvml are imported at the first look.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from flashtrial.core import env
from flashtrial.core.gpu import telemetry
from flashtrial.core.gpu.driver import Gpu, GpuDriver, GpuReading
from flashtrial.core.gpu.nvml import open_nvml
from flashtrial.core.gpu.visible import VARIABLE, visible_gpus
from flashtrial.tracking.capture.cgroups import Cgroups
from flashtrial.tracking.capture.fork_gate import imported

if TYPE_CHECKING:
    import psutil


class Sampler(Protocol):
    """Used by one thread."""

    @property
    def name(self) -> str:
        """What is sampled, for the log."""
        ...

    def sample(self) -> dict[str, float]:
        """Figures by name, as `figures` lists them. Raises what it likes."""
        ...

    def close(self) -> None:
        """Let go of what is held. Safe to call twice."""
        ...


@dataclass(slots=True)
class Rate:
    """How fast a counter grows, between one look and the next."""

    clock: Callable[[], float] = time.monotonic
    _last: tuple[float, float] | None = None

    def per_second(self, counter: float) -> float | None:
        """Growth a second since the last call; None at the first, and when the counter was set back."""
        now, last = self.clock(), self._last
        self._last = (now, counter)
        if last is None or counter < last[1] or now <= last[0]:
            return None
        return (counter - last[1]) / (now - last[0])


@dataclass(slots=True)
class CpuSampler:
    """Of the container where it has a quota, else of the machine."""

    cgroups: Cgroups = field(default_factory=Cgroups)
    name: str = "cpu"
    _rate: Rate = field(default_factory=Rate)
    _is_primed: bool = False  # psutil's first answer means nothing

    def sample(self) -> dict[str, float]:
        figures = {"sys/cpu.usable_count": self._usable(), "sys/cpu.load_1m_count": os.getloadavg()[0]}
        seconds = self.cgroups.cpu_seconds()
        if seconds is None:
            busy_percent = _psutil().cpu_percent()
            known = _known("sys/cpu.utilization_percent", busy_percent if self._is_primed else None)
            self._is_primed = True
            return {**figures, **known}
        busy = self._rate.per_second(seconds)
        share = None if busy is None else min(100 * busy / figures["sys/cpu.usable_count"], 100.0)
        return {**figures, **_known("sys/cpu.utilization_percent", share)}

    def close(self) -> None:
        """Nothing is held."""

    def _usable(self) -> float:
        counted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        limit = self.cgroups.cpu_limit()
        return float(counted if limit is None else min(limit, counted))


@dataclass(slots=True)
class MemorySampler:
    """Of the container where it has a limit, else of the machine."""

    cgroups: Cgroups = field(default_factory=Cgroups)
    name: str = "memory"

    def sample(self) -> dict[str, float]:
        psutil = _psutil()
        machine, container = psutil.virtual_memory(), self.cgroups.memory()
        used, total = machine.total - machine.available, machine.total
        if container is not None and container.limit_bytes < machine.total:
            used, total = container.used_bytes, container.limit_bytes
        return {
            "sys/memory.used_bytes": used,
            "sys/memory.total_bytes": total,
            "sys/memory.utilization_percent": 100 * used / total,
            "sys/swap.used_bytes": psutil.swap_memory().used,
        }

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class DiskSampler:
    """The file system of the working directory."""

    name: str = "disk"

    def sample(self) -> dict[str, float]:
        usage = _psutil().disk_usage(os.getcwd())  # noqa: PTH109 - a text is what psutil wants
        return {
            "sys/disk.used_bytes": usage.used,
            "sys/disk.total_bytes": usage.total,
            "sys/disk.utilization_percent": usage.percent,
        }

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class DiskIoSampler:
    """All disks of the machine; a container mostly sees them all. Nothing where the kernel does not count."""

    name: str = "disk io"
    _read: Rate = field(default_factory=Rate)
    _written: Rate = field(default_factory=Rate)

    def sample(self) -> dict[str, float]:
        counted = _psutil().disk_io_counters()
        if counted is None:
            return {}
        return {
            **_known("sys/disk.read_bytes_per_second", self._read.per_second(counted.read_bytes)),
            **_known("sys/disk.written_bytes_per_second", self._written.per_second(counted.write_bytes)),
        }

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class NetworkSampler:
    """All interfaces of this network namespace but the loopback, over which ranks of one machine talk."""

    name: str = "network"
    _received: Rate = field(default_factory=Rate)
    _sent: Rate = field(default_factory=Rate)

    def sample(self) -> dict[str, float]:
        counted = [each for name, each in _psutil().net_io_counters(pernic=True).items() if not name.startswith("lo")]
        received = self._received.per_second(sum(each.bytes_recv for each in counted))
        sent = self._sent.per_second(sum(each.bytes_sent for each in counted))
        return {
            **_known("sys/network.received_bytes_per_second", received),
            **_known("sys/network.sent_bytes_per_second", sent),
        }

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class ProcessSampler:
    """This process and what it started."""

    name: str = "process"
    _process: "psutil.Process | None" = None
    _cpu: Rate = field(default_factory=Rate)

    def sample(self) -> dict[str, float]:
        if self._process is None:
            self._process = _psutil().Process()
        process = self._process
        with process.oneshot():
            times = process.cpu_times()
            figures: dict[str, float] = {
                "sys/process.rss_bytes": process.memory_info().rss,
                "sys/process.threads_count": process.num_threads(),
                "sys/process.descriptors_count": process.num_fds(),
            }
        busy = self._cpu.per_second(times.user + times.system)
        return {**figures, **_known("sys/process.cpu_percent", None if busy is None else 100 * busy)}

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class ChildrenSampler:
    """What this process started; a walk over all processes of the machine, so alone."""

    name: str = "children"

    def sample(self) -> dict[str, float]:
        psutil = _psutil()
        children = psutil.Process().children(recursive=True)
        return {
            "sys/process.children_count": len(children),
            "sys/process.children_rss_bytes": sum(_rss(psutil, child) for child in children),
        }

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class GpuSampler:
    """The GPUs that this process may use, by the driver that `open_driver` gives at the first look."""

    open_driver: Callable[[], GpuDriver] = open_nvml
    name: str = "gpu"
    _driver: GpuDriver | None = None

    def sample(self) -> dict[str, float]:
        if self._driver is None:
            imported("pynvml")
            self._driver = self.open_driver()
        driver = Visible(self._driver, env.snapshot().get(VARIABLE))
        if not driver.gpus():
            return {}
        taken = telemetry.sample(driver, {"": _family()})
        return {**taken.values, **taken.children.get("", {})}

    def close(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()


@dataclass(frozen=True, slots=True)
class Visible:
    """A driver of those GPUs alone that ``CUDA_VISIBLE_DEVICES`` leaves; they keep their numbers."""

    driver: GpuDriver
    restriction: str | None

    def gpus(self) -> tuple[Gpu, ...]:
        return visible_gpus(self.driver.gpus(), self.restriction)

    def read(self, gpu: Gpu) -> GpuReading:
        return self.driver.read(gpu)

    @property
    def failures(self) -> Mapping[str, int]:
        return self.driver.failures

    def close(self) -> None:
        self.driver.close()


def machine_samplers() -> Iterable[Sampler]:
    """All samplers, for one thread."""
    return (
        CpuSampler(),
        MemorySampler(),
        DiskSampler(),
        DiskIoSampler(),
        NetworkSampler(),
        ProcessSampler(),
        ChildrenSampler(),
        GpuSampler(),
    )


def _psutil() -> ModuleType:
    found = imported("psutil")
    if found is None:
        raise ModuleNotFoundError("the package psutil is not installed")
    return found


def _family() -> list[int]:
    """This process and its descendants."""
    return [os.getpid(), *(child.pid for child in _psutil().Process().children(recursive=True))]


def _rss(psutil: ModuleType, process: "psutil.Process") -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        return 0


def _known(name: str, value: float | None) -> dict[str, float]:
    return {} if value is None else {name: value}
