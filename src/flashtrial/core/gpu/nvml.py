"""The GPU driver on NVML, through `pynvml` (package nvidia-ml-py), which is imported when it is opened.

NVML makes no CUDA context, so the handler may use it while children use the GPUs. A board that is split by MIG counts
as its slices. Tested through the real binding against a compiled stand-in for libnvidia-ml; unverified on hardware.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flashtrial.core.gpu.driver import Gpu, GpuDriver, GpuHealth, GpuMemory, GpuProcess, GpuReading, NoGpus

_MILLIWATTS: Final = 1000.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


def open_nvml() -> GpuDriver:
    """The driver of this machine's GPUs, or `NoGpus` where the package, the library, the driver or a device is missing.

    The caller closes it.
    """
    try:
        import pynvml  # noqa: PLC0415 - 8,000 lines that a worker without GPUs need not read
    except ImportError:
        return NoGpus("the package nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return NoGpus(f"NVML: {error}")
    driver = NvmlDriver(pynvml)
    driver.start()
    if not driver.gpus():
        driver.close()
        return NoGpus("NVML lists no usable GPU")
    return driver


@dataclass(frozen=True, slots=True)
class _Unit:
    """A GPU with NVML's handles: its own, and its board's, which alone knows of power, heat and faults."""

    gpu: Gpu
    handle: Any
    board: Any


class NvmlDriver:
    """Implements `GpuDriver`. Made by `open_nvml`: `nvml` is the module `pynvml`, already initialised.

    A device that is lost while this lives is still listed; its readings are empty but for `health`, which says so.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._units: dict[str, _Unit] = {}
        self._failures: Counter[str] = Counter()
        self._is_open = True

    def start(self) -> None:
        """Find the devices; they are those of this driver from then on."""
        for handle, board_handle, board in self._handles():
            uuid = self._ask("uuid", self._nvml.nvmlDeviceGetUUID, handle)
            if uuid is not None:
                name = self._ask("name", self._nvml.nvmlDeviceGetName, handle) or "unnamed GPU"
                self._units[uuid] = _Unit(Gpu(len(self._units), uuid, name, board), handle, board_handle)

    def gpus(self) -> tuple[Gpu, ...]:
        return tuple(unit.gpu for unit in self._units.values())

    def read(self, gpu: Gpu) -> GpuReading:
        unit = self._units.get(gpu.uuid)
        if unit is None or not self._is_open:
            return GpuReading(gpu)
        nvml, handle, board = self._nvml, unit.handle, unit.board
        milliwatts = self._ask("power", nvml.nvmlDeviceGetPowerUsage, board)
        rates = self._ask("utilization", nvml.nvmlDeviceGetUtilizationRates, handle)
        return GpuReading(
            unit.gpu,
            memory=self._memory(handle),
            utilization_percent=rates.gpu if rates is not None else None,
            # NVIDIA removes this function with CUDA 14; its successor is not in every driver yet
            temperature_celsius=self._ask(
                "temperature", nvml.nvmlDeviceGetTemperature, board, nvml.NVML_TEMPERATURE_GPU
            ),
            power_watts=milliwatts / _MILLIWATTS if milliwatts is not None else None,
            processes=self._processes(handle),
            health=self._health(board),
        )

    @property
    def failures(self) -> Mapping[str, int]:
        return dict(self._failures)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._ask("shutdown", self._nvml.nvmlShutdown)

    def _handles(self) -> Iterator[tuple[Any, Any, int]]:
        """Each device's handle, its board's, and the board's ordinal."""
        for ordinal in range(self._ask("count", self._nvml.nvmlDeviceGetCount) or 0):
            board = self._ask("handle", self._nvml.nvmlDeviceGetHandleByIndex, ordinal)
            if board is not None:
                for handle in self._slices(board) if self._is_split(board) else [board]:
                    yield handle, board, ordinal

    def _is_split(self, board: Any) -> bool:
        mode = self._ask("mig_mode", self._nvml.nvmlDeviceGetMigMode, board)
        return mode is not None and mode[0] == self._nvml.NVML_DEVICE_MIG_ENABLE

    def _slices(self, board: Any) -> Iterator[Any]:
        for place in range(self._ask("mig_count", self._nvml.nvmlDeviceGetMaxMigDeviceCount, board) or 0):
            handle = self._ask("mig_handle", self._nvml.nvmlDeviceGetMigDeviceHandleByIndex, board, place)
            if handle is not None:
                yield handle

    def _memory(self, handle: Any) -> GpuMemory | None:
        info = self._ask("memory", self._nvml.nvmlDeviceGetMemoryInfo, handle)
        return GpuMemory(info.total, info.free) if info is not None else None

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        found = self._ask("processes", self._nvml.nvmlDeviceGetComputeRunningProcesses_v3, handle)
        if found is None:
            return None
        # a process with a context holds some memory: 0 is a driver that cannot tell (open-gpu-kernel-modules#614)
        return tuple(GpuProcess(process.pid, process.usedGpuMemory or None) for process in found)

    def _health(self, board: Any) -> GpuHealth:
        nvml = self._nvml
        kinds = (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC)
        rows = self._ask("remapped_rows", nvml.nvmlDeviceGetRemappedRows, board)
        return GpuHealth(
            is_lost=self._is_lost(board),
            recovery_action=self._ask("recovery_action", self._recovery_action, board),
            uncorrected_ecc=self._ask("ecc", nvml.nvmlDeviceGetTotalEccErrors, board, *kinds),
            remap_failed=bool(rows[3]) if rows is not None else None,
        )

    def _recovery_action(self, board: Any) -> int | None:
        (field,) = self._nvml.nvmlDeviceGetFieldValues(board, [self._nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
        return int(field.value.uiVal) if field.nvmlReturn == self._nvml.NVML_SUCCESS else None

    def _is_lost(self, board: Any) -> bool:
        try:
            self._nvml.nvmlDeviceGetMemoryInfo(board)
        except (self._nvml.NVMLError_GpuIsLost, self._nvml.NVMLError_ResetRequired):
            return True
        except self._nvml.NVMLError:
            return False  # counted where the memory is read
        return False

    def _ask(self, query: str, answer: Callable[..., T], *arguments: Any) -> T | None:
        nvml = self._nvml
        try:
            return answer(*arguments)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NotFound, nvml.NVMLError_FunctionNotFound):
            return None  # this device or driver does not offer it
        except nvml.NVMLError as error:
            self._failures[query] += 1
            logger.debug("NVML could not answer %s: %s", query, error, extra={"action": "nvml_query_failed"})
            return None
