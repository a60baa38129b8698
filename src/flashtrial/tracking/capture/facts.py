"""What is true of a run from its beginning: code, packages, Python, command line, host. Collected once, one record.

The record is of kind ``data``: ``{"name": "sys/facts", "type": "facts", "step": None, "value": {…}}``. What only the
process itself knows is a `Subject`; the rest takes its time and is collected elsewhere. Of the environment only the
variables of a short list are kept.
"""

import logging
import os
import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from flashtrial.core import env
from flashtrial.core.gpu.nvml import open_nvml
from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.capture.cgroups import Cgroups
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.capture.subject import Subject

logger = logging.getLogger(__name__)

FACTS_NAME: Final = "sys/facts"
MAX_PACKAGES: Final = 2_000

_METADATA_ENDINGS: Final = (".dist-info", ".egg-info")
_METADATA: Final = re.compile(r"\.(?:dist|egg)-info$")

ENVIRONMENT_SHOWN: Final = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    "NCCL_DEBUG",
    "PYTHONHASHSEED",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "SLURM_JOB_ID",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "CONDA_DEFAULT_ENV",
    "RUNPOD_POD_ID",
    "RUNPOD_ENDPOINT_ID",
    "RUNPOD_GPU_COUNT",
    "RUNPOD_DC_ID",
    "FLASHTRIAL_WORKER_ID",
)

GitState: TypeAlias = Callable[[Path, Mapping[str, str], Masks], dict[str, JsonValue] | None]


def facts_body(value: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The body of the ``data`` record that holds facts."""
    return {"name": FACTS_NAME, "type": "facts", "step": None, "value": dict(value)}


def collect(subject: Subject, masks: Masks) -> dict[str, JsonValue]:
    """The facts but git's; each group fails alone and is left out then. Takes some 10 ms, more where there are GPUs."""
    environment = env.snapshot()
    groups: dict[str, Callable[[], JsonValue]] = {
        "python": lambda: _python(subject),
        "command": lambda: list(subject.command),
        "directory": lambda: subject.directory,
        "host": _host,
        "cpu": _cpu,
        "memory_bytes": _memory_bytes,
        "gpus": _gpus,
        "environment": lambda: _shown(environment, masks),
        "packages": lambda: _packages(subject.paths),
    }
    return _found(groups)


def collect_git(subject: Subject, masks: Masks, git: GitState) -> dict[str, JsonValue]:
    """What `git` says, which starts processes and may take seconds; nothing where there is nothing to say."""
    environment = env.snapshot()
    return _found({"git": lambda: _git(git, subject, environment, masks)})


def _found(groups: Mapping[str, Callable[[], JsonValue]]) -> dict[str, JsonValue]:
    found = {name: _attempt(name, group) for name, group in groups.items()}
    return {name: value for name, value in found.items() if value is not None}


def _attempt(name: str, group: Callable[[], JsonValue]) -> JsonValue:
    try:
        return group()
    except Exception:  # damaged metadata, odd /proc: a fact that cannot be had is left out
        logger.info("the run's facts lack %s", name, exc_info=True, extra={"action": "fact_left_out"})
        return None


def _python(subject: Subject) -> JsonValue:
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": subject.executable,
    }


def _host() -> JsonValue:
    return {"name": platform.node(), "system": platform.system(), "release": platform.release(), "os": _os_name()}


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _cpu() -> JsonValue:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": _cpu_model(),
        "architecture": platform.machine(),
        "count": os.cpu_count(),
        "usable_count": Cgroups().cpu_limit() or usable,
    }


def _cpu_model() -> str | None:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return None


def _memory_bytes() -> JsonValue:
    machine, container = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), Cgroups().memory()
    return machine if container is None else min(machine, container.limit_bytes)


def _gpus() -> JsonValue:
    driver = open_nvml()
    try:
        return [_gpu(reading.gpu.name, reading.memory) for reading in map(driver.read, driver.gpus())] or None
    finally:
        driver.close()


def _gpu(name: str, memory: Any) -> JsonValue:
    return {"name": name, "memory_bytes": memory.total_bytes if memory is not None else None}


def _shown(environment: Mapping[str, str], masks: Masks) -> JsonValue:
    return {name: masks.masked(environment[name]) for name in ENVIRONMENT_SHOWN if name in environment}


def _git(git: GitState, subject: Subject, environment: Mapping[str, str], masks: Masks) -> JsonValue:
    """Of the script's repository, else of the working directory's."""
    places = [Path(subject.script).parent] if subject.script else []
    for place in (*places, Path(subject.directory)):
        if (state := git(place, environment, masks)) is not None:
            return dict(state)
    return None


def _packages(paths: tuple[str, ...]) -> JsonValue:
    """Versions by name; of a name that is there twice, the one that comes first on the path, which is imported.

    By the names of the metadata's directories (PEP 427, PEP 376), which takes a millisecond; `importlib.metadata`
    parses all that is in them, and takes a second for as many packages as torch brings.
    """
    found: dict[str, JsonValue] = {}
    for path in paths:
        for entry in sorted(_entries(path)):
            name, _, version = _METADATA.sub("", entry).partition("-")
            if entry.endswith(_METADATA_ENDINGS) and version and len(found) < MAX_PACKAGES:
                found.setdefault(name.replace("_", "-"), version.partition("-")[0])
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - names are all that is wanted
    except OSError:  # a zip, a directory that is gone
        return []
