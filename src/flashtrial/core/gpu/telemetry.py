"""GPU figures under fixed names with their units, ``sys/gpu.{index}.…``, for devices and for each child's share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from flashtrial.core.gpu.driver import Gpu, GpuDriver, GpuProcess, GpuReading

PREFIX: Final = "sys/gpu."


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One look at all GPUs.

    `values` has what was answered, by name; `missing` the names that have no value this time; `failures` counts failed
    queries since the driver was opened. `children` has for each child the bytes that its processes hold, by name; a
    child that NVML does not list (it has no context, or the pids are those of the host) is not in it.
    """

    values: Mapping[str, float]
    children: Mapping[str, Mapping[str, int]]
    missing: tuple[str, ...]
    failures: Mapping[str, int]


def sample(driver: GpuDriver, pids_by_child: Mapping[str, Collection[int]]) -> GpuSample:
    """What the driver says now; each figure fails alone. `pids_by_child` names the processes of each child."""
    values: dict[str, float] = {}
    missing: list[str] = []
    children: dict[str, dict[str, int]] = {}
    for gpu in driver.gpus():
        reading = driver.read(gpu)
        for figure, value in _figures(reading).items():
            if value is None:
                missing.append(_name(gpu, figure))
            else:
                values[_name(gpu, figure)] = float(value)
        for child, size_bytes in held_by(reading.processes or (), pids_by_child).items():
            children.setdefault(child, {})[_name(gpu, "process_memory_bytes")] = size_bytes
    return GpuSample(values, children, tuple(missing), driver.failures)


def held_by(processes: Collection[GpuProcess], pids_by_child: Mapping[str, Collection[int]]) -> dict[str, int]:
    """Bytes that each child's processes hold on a device, contexts included; who is not listed there is left out."""
    sizes = {process.pid: process.used_bytes for process in processes if process.used_bytes is not None}
    shares = {child: [sizes[pid] for pid in set(pids) if pid in sizes] for child, pids in pids_by_child.items()}
    return {child: sum(share) for child, share in shares.items() if share}


def _figures(reading: GpuReading) -> dict[str, float | None]:
    memory = reading.memory
    return {
        "utilization_percent": reading.utilization_percent,
        "memory_used_bytes": memory.used_bytes if memory is not None else None,
        "memory_total_bytes": memory.total_bytes if memory is not None else None,
        "temperature_celsius": reading.temperature_celsius,
        "power_watts": reading.power_watts,
        "ecc_uncorrected_count": reading.health.uncorrected_ecc,
    }


def _name(gpu: Gpu, figure: str) -> str:
    return f"{PREFIX}{gpu.index}.{figure}"
