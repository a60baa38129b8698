"""What we need to know of GPUs, as values and as a protocol, so that a recorded driver can stand in for NVML."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

UNKNOWN_BOARD: Final = -1

# NVML_GPU_RECOVERY_ACTION_*: none, drain peer-to-peer traffic, recover the IMEX domain. After these, one process on one
# GPU goes on; every other one (reset, reboot, and what future drivers add) needs what a container cannot do.
_USABLE_AFTER: Final = frozenset({0, 3, 5})


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device that a CUDA process can be given: a board, or a MIG slice of one.

    `index` is its place among the driver's GPUs and names it in telemetry. `board` is the board's ordinal as NVML
    counts (by PCI bus); the slices of a board share it, and `UNKNOWN_BOARD` stands for a slice that NVML does not list.
    """

    index: int
    uuid: str
    name: str
    board: int


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Bytes of a device; `free_bytes` is what a new allocation can take, by whoever."""

    total_bytes: int
    free_bytes: int

    @property
    def used_bytes(self) -> int:
        return self.total_bytes - self.free_bytes


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with a context on a device. `used_bytes` includes the context; None when the driver does not say.

    In a container, `pid` may be the host's.
    """

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class GpuHealth:
    """What the driver says of a device's faults; None where it does not say.

    `recovery_action` is NVML's ``nvmlDeviceGpuRecoveryAction_t``, which the driver sets from Xid errors.
    `uncorrected_ecc` counts since the driver was loaded: such an error may have been contained to one process.
    """

    is_lost: bool = False
    recovery_action: int | None = None
    uncorrected_ecc: int | None = None
    remap_failed: bool | None = None

    @property
    def is_broken(self) -> bool:
        """Whether no process should be put on the device until something outside this container has mended it."""
        return self.is_lost or bool(self.remap_failed) or (self.recovery_action or 0) not in _USABLE_AFTER


_NOTHING_KNOWN: Final = GpuHealth()


@dataclass(frozen=True, slots=True)
class GpuReading:
    """All that a driver says of one GPU at one moment; None is what it could not or does not say.

    `utilization_percent` is the share of the driver's last sample period in which a kernel ran, 0 to 100, and not
    offered for MIG slices. Temperature and power are the board's. `processes` are those with a compute context.
    """

    gpu: Gpu
    memory: GpuMemory | None = None
    utilization_percent: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    processes: tuple[GpuProcess, ...] | None = None
    health: GpuHealth = _NOTHING_KNOWN


class GpuDriver(Protocol):
    """Reads GPUs. Each part of a reading fails alone: it is None, it is counted, and nothing is raised.

    The same driver answers the same GPUs for its whole life. For one thread at a time; a reading takes milliseconds.
    """

    def gpus(self) -> tuple[Gpu, ...]:
        """The devices that were there when the driver was opened, indexed from 0; empty where there are none."""
        ...

    def read(self, gpu: Gpu) -> GpuReading:
        """What is known of `gpu` now: nothing if it is none of `gpus`, or after `close`."""
        ...

    @property
    def failures(self) -> Mapping[str, int]:
        """How often each part of a reading failed; what a device does not offer at all is no failure."""
        ...

    def close(self) -> None:
        """Let go of the driver. Safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class NoGpus:
    """The driver of a machine without a usable GPU; `reason` says what was missing."""

    reason: str

    def gpus(self) -> tuple[Gpu, ...]:
        return ()

    def read(self, gpu: Gpu) -> GpuReading:
        return GpuReading(gpu)

    @property
    def failures(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        """Nothing is held."""
