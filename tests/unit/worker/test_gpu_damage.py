"""Which errors poison a process, which condemn the device, and which are nobody's fault but the code's."""

import pytest

from flashtrial.process.runtime.user_code import described
from flashtrial.worker.gpu.damage import CUDA_ERRORS, XIDS_OF_THE_DEVICE, XIDS_TO_IGNORE, Damage, damage_of, is_poisoned

PYTORCH_TAIL = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)

POISONED = [
    # PyTorch: c10::cuda::c10_cuda_check_implementation
    "RuntimeError: CUDA error: an illegal memory access was encountered" + PYTORCH_TAIL,
    "torch.AcceleratorError: CUDA error: device-side assert triggered" + PYTORCH_TAIL,
    "RuntimeError: CUDA error: unspecified launch failure" + PYTORCH_TAIL,
    "RuntimeError: CUDA error: misaligned address" + PYTORCH_TAIL,
    "RuntimeError: cuda runtime error (59) : device-side assert triggered at /pytorch/aten/src/THC/generic/x.cu:1",
    "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment",
    # CuPy, Numba, JAX, ONNX Runtime, NCCL, Thrust
    "cupy_backends.cuda.CUDADriverError: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
    "cupy_backends.cuda.CUDARuntimeError: cudaErrorIllegalAddress: an illegal memory access was encountered",
    "numba.cuda.cudadrv.driver.CudaAPIError: [719] Call to cuMemcpyDtoH results in CUDA_ERROR_LAUNCH_FAILED",
    "jaxlib.xla_extension.XlaRuntimeError: INTERNAL: Failed to synchronize: CUDA_ERROR_MISALIGNED_ADDRESS: misaligned "
    "address",
    "RuntimeError: CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=x",
    "torch.distributed.DistBackendError: NCCL error: unhandled cuda error, Cuda failure 'unspecified launch failure'",
    "RuntimeError: parallel_for failed: cudaErrorIllegalInstruction: an illegal instruction was encountered",
    # the kernel's log, where somebody put it into a message
    "NVRM: Xid (PCI:0000:10:1c): 31, pid=1896, name=python, Ch 00000008, intr 10000000. MMU Fault",
    "NVRM: Xid (PCI:0000:10:1c): 94, pid=1896, Contained: SM (0x1). RST: No, D-RST: No",
]

BROKEN = [
    "RuntimeError: CUDA error: uncorrectable ECC error encountered" + PYTORCH_TAIL,
    "Internal: failed call to cuDevicePrimaryCtxRetain: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error "
    "encountered",
    "RuntimeError: CUDA error: uncorrectable NVLink error detected during the execution",
    "pynvml.NVMLError_GpuIsLost: GPU is lost",
    "NVMLError: GPU requires reset",
    "Unable to determine the device handle for GPU 0000:0B:00.0: Unknown Error",
    "NVRM: GPU at PCI:0000:01:00: GPU has fallen off the bus.",
    "NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    "health check: XID 95 on GPU 3",
    "wgpu error: Validation Error: GPU device lost",
    "vulkan: VK_ERROR_DEVICE_LOST",
]

HARMLESS = [
    "",
    "ValueError: bad input",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB "
    "of which 3.50 GiB is free.",
    "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,000,000,000 bytes (allocated so far: 0 bytes).",
    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824.",
    "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    "RuntimeError: CUDA error: out of memory" + PYTORCH_TAIL,
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "RuntimeError: CUDA error: invalid argument" + PYTORCH_TAIL,
    "RuntimeError: CUDA error: no kernel image is available for execution on the device" + PYTORCH_TAIL,
    "RuntimeError: CUDA error: too many resources requested for launch" + PYTORCH_TAIL,
    "RuntimeError: No CUDA GPUs are available",
    "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the "
    "'spawn' start method",
    "requests.exceptions.HTTPError: 520 Server Error: unknown error for url",
    "gdb: misaligned address 0x7ffd",
    "AttributeError: 'Message' object has no attribute 'xid'",
    "LookupError: transaction xid=18446 is gone",
    "ConnectionError: bluetooth device lost",
    "NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row marked for remapping, reset gpu to activate.",
    "NVRM: Xid (PCI:0000:10:1c): 92, High single-bit ECC error rate",
]


@pytest.mark.parametrize("text", POISONED)
def test_sticky_errors_poison_the_process(text: str) -> None:
    assert damage_of(text) is Damage.PROCESS
    assert is_poisoned(text)


@pytest.mark.parametrize("text", BROKEN)
def test_errors_of_the_device_ask_for_another_worker(text: str) -> None:
    assert damage_of(text) is Damage.DEVICE
    assert is_poisoned(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_other_errors_keep_the_child(text: str) -> None:
    assert damage_of(text) is Damage.NONE
    assert not is_poisoned(text)


@pytest.mark.parametrize("error", CUDA_ERRORS, ids=lambda error: error.runtime_name)
def test_each_error_is_known_by_its_names_and_by_its_text(error: object) -> None:
    known = next(one for one in CUDA_ERRORS if one is error)
    for text in (
        known.runtime_name,
        known.driver_name,
        f"CUDA error: {known.text}",
        f"cuda ERROR: {known.text.upper()}",
    ):
        assert damage_of(text) is known.damage


def test_damage_says_what_to_do() -> None:
    assert [(damage.retires_child, damage.refreshes_worker) for damage in Damage] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_the_worst_of_a_text_counts() -> None:
    assert damage_of("\n".join([POISONED[0], BROKEN[0], HARMLESS[2]])) is Damage.DEVICE
    assert damage_of("\n".join([HARMLESS[2], POISONED[0]])) is Damage.PROCESS


def test_an_unlisted_xid_concerns_the_process() -> None:
    assert not XIDS_OF_THE_DEVICE & XIDS_TO_IGNORE
    assert damage_of("Xid 999") is Damage.PROCESS


def raised(error: Exception) -> str:
    try:
        raise error
    except (RuntimeError, ValueError, ExceptionGroup) as caught:
        return described(caught)


def test_the_worker_s_own_rendering_of_an_exception_is_understood() -> None:
    illegal = RuntimeError("CUDA error: an illegal memory access was encountered")
    wrapped = ValueError("training failed")
    wrapped.__cause__ = illegal
    assert damage_of(raised(illegal)) is Damage.PROCESS
    assert damage_of(raised(wrapped)) is Damage.PROCESS
    assert damage_of(raised(ExceptionGroup("two", [ExceptionGroup("one", [illegal]), KeyError("x")]))) is Damage.PROCESS


def test_source_lines_that_a_traceback_quotes_are_not_errors() -> None:
    quoted = (
        "ValueError: bad input\n\nTraceback (most recent call last):\n"
        '  File "<flashtrial f 1>", line 3, in f\n'
        '    raise ValueError("bad input") if "device-side assert triggered" not in text else Poisoned()\n'
        "ValueError: bad input"
    )
    margin = "\n".join(f"  | {line}" for line in quoted.splitlines())
    assert damage_of(quoted) is Damage.NONE
    assert damage_of(margin) is Damage.NONE


def test_of_a_huge_text_both_ends_are_read() -> None:
    padding = "x" * 10_000_000
    assert damage_of(POISONED[0] + padding) is Damage.PROCESS
    assert damage_of(padding + "\n" + BROKEN[0]) is Damage.DEVICE
    assert damage_of("xid (" * 2_000_000) is Damage.NONE
