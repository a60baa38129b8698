"""What an error says about the process and the device it came from: go on, retire the child, or give the worker back.

A CUDA error that is "sticky" stays in its process: every later CUDA call there fails with it. Some errors mean that the
device itself needs what a container cannot do. Sources: names and texts are those of libcudart 12.9
(`cudaGetErrorName`, `cudaGetErrorString`); which of them are sticky, the CUDA Runtime API documentation of `cudaError`
("the process must be terminated and relaunched"); Xid numbers, NVIDIA's Xid catalog, as mapped to actions in
NVIDIA/NVSentinel (xiderrorsmapping.csv). Nothing here was provoked on hardware yet.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Damage(StrEnum):
    """How far an error reaches."""

    NONE = "none"
    PROCESS = "process"
    DEVICE = "device"

    @property
    def retires_child(self) -> bool:
        """Whether the process must take no further call."""
        return self is not Damage.NONE

    @property
    def refreshes_worker(self) -> bool:
        """Whether the worker should be given back, so that the next one gets another GPU."""
        return self is Damage.DEVICE


_SEVERITY: Final = tuple(Damage)


@dataclass(frozen=True, slots=True)
class _CudaError:
    """One error as CUDA names it. A plain `text` occurs elsewhere too, and counts only on a line that names CUDA."""

    runtime_name: str
    driver_name: str
    text: str
    damage: Damage = Damage.PROCESS
    is_plain: bool = False

    def is_told_by(self, line: str) -> bool:
        """Whether the lower-case `line` names this error."""
        if self.runtime_name.lower() in line or self.driver_name.lower() in line:
            return True
        return self.text.lower() in line and (not self.is_plain or "cuda" in line)


CUDA_ERRORS: Final = (
    _CudaError("cudaErrorIllegalAddress", "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"),
    _CudaError("cudaErrorAssert", "CUDA_ERROR_ASSERT", "device-side assert triggered"),
    _CudaError("cudaErrorLaunchFailure", "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"),
    _CudaError("cudaErrorLaunchTimeout", "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"),
    _CudaError("cudaErrorHardwareStackError", "CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error", is_plain=True),
    _CudaError(
        "cudaErrorIllegalInstruction", "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"
    ),
    _CudaError("cudaErrorMisalignedAddress", "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address", is_plain=True),
    _CudaError(
        "cudaErrorInvalidAddressSpace",
        "CUDA_ERROR_INVALID_ADDRESS_SPACE",
        "operation not supported on global/shared address space",
    ),
    _CudaError("cudaErrorInvalidPc", "CUDA_ERROR_INVALID_PC", "invalid program counter", is_plain=True),
    _CudaError("cudaErrorTensorMemoryLeak", "CUDA_ERROR_TENSOR_MEMORY_LEAK", "tensor memory not completely freed"),
    _CudaError("cudaErrorContextIsDestroyed", "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed", is_plain=True),
    _CudaError(
        "cudaErrorMpsClientTerminated",
        "CUDA_ERROR_MPS_CLIENT_TERMINATED",
        "the MPS client has been terminated by the server",
    ),
    _CudaError("cudaErrorContained", "CUDA_ERROR_CONTAINED", "Invalid access of peer GPU memory over nvlink"),
    _CudaError("cudaErrorUnknown", "CUDA_ERROR_UNKNOWN", "unknown error", is_plain=True),
    _CudaError(
        "cudaErrorECCUncorrectable",
        "CUDA_ERROR_ECC_UNCORRECTABLE",
        "uncorrectable ECC error encountered",
        Damage.DEVICE,
    ),
    _CudaError(
        "cudaErrorNvlinkUncorrectable",
        "CUDA_ERROR_NVLINK_UNCORRECTABLE",
        "uncorrectable NVLink error detected during the execution",
        Damage.DEVICE,
    ),
)

# what NVML, nvidia-smi, the kernel's log and graphics layers say of a device that is gone; lower case
_DEVICE_TEXTS: Final = (
    "gpu is lost",
    "gpu requires reset",
    "fallen off the bus",
    "unable to determine the device handle for gpu",
    "cuda error: device lost",
    "vk_error_device_lost",
    "nvml_error_gpu_is_lost",
    "nvml_error_reset_required",
)

XIDS_OF_THE_DEVICE: Final = frozenset(
    {46, 48, 62, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 143, *range(144, 152), 155, 156, 158, 160, 162}
)
"""Reset the GPU, restart the machine, or a workflow that ends there. All others concern a process, or nobody."""

XIDS_TO_IGNORE: Final = frozenset(
    {14, 37, 38, 44, 63, 66, 67, 92, 93, 106, 107, 121, 137, 141, 152, 153, 154, 157, 161}
)

_XID: Final = re.compile(r"\bxid\b(?: ?\([^)]{0,64}\))?[:=]? ?(\d{1,3})\b")
# of a traceback, the lines that quote source: indented by four, behind the margin of an exception group if there is one
_MARGIN: Final = re.compile(r"^ *\| ")
_SOURCE_INDENT: Final = "    "
_CHARACTERS_READ: Final = 64 * 1024


def damage_of(error_text: str) -> Damage:
    """The worst that `error_text`, a message with or without its traceback, tells. Quoted source lines do not count.

    Out of memory is no damage: the process goes on. An error whose reason CUDA calls unknown is taken as sticky. Of a
    longer text the first and the last 64 Ki characters are read.
    """
    found = {damage for line in _spoken(error_text) for damage in _damages(line.lower())}
    return max(found, key=_SEVERITY.index, default=Damage.NONE)


def is_poisoned(error_text: str) -> bool:
    """Whether the process that raised this must take no further call."""
    return damage_of(error_text).retires_child


def _spoken(error_text: str) -> Iterator[str]:
    if len(error_text) > 2 * _CHARACTERS_READ:
        error_text = f"{error_text[:_CHARACTERS_READ]}\n{error_text[-_CHARACTERS_READ:]}"
    for line in error_text.splitlines():
        bare = _MARGIN.sub("", line)
        if not bare.startswith(_SOURCE_INDENT):
            yield bare


def _damages(line: str) -> Iterator[Damage]:
    for error in CUDA_ERRORS:
        if error.is_told_by(line):
            yield error.damage
    if any(text in line for text in _DEVICE_TEXTS) or ("device lost" in line and "gpu" in line):
        yield Damage.DEVICE
    for match in _XID.finditer(line):
        yield _damage_of_xid(int(match[1]))


def _damage_of_xid(number: int) -> Damage:
    if number in XIDS_TO_IGNORE:
        return Damage.NONE
    return Damage.DEVICE if number in XIDS_OF_THE_DEVICE else Damage.PROCESS
