"""What a test module leaves behind: processes, descriptors, shared memory.

A process is ours when it descends from this one, or when it carries a ``FLASHTRIAL_HOME`` inside this run's temporary
directory: so that a detached process, which is nobody's child any more, is found as well. A file in /dev/shm is ours
when it is new and no living process of somebody else has it open. Of a semaphore nobody can tell whose it was when
nobody has it open; where several of these processes run side by side, semaphores are left to those that run alone.
"""

import contextlib
import gc
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_SHARED_MEMORY = Path("/dev/shm")
# as Python, torch and we name them; others use the folder as well
_SEGMENTS = ("psm_", "torch_", "flashtrial", *(() if "PYTEST_XDIST_WORKER" in os.environ else ("sem.",)))
_DESCRIPTORS = Path("/proc/self/fd")
_COUNTED = re.compile(r"socket:|pipe:|/memfd:|anon_inode:\[?pidfd|/dev/shm/")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What this process and its descendants hold at one moment."""

    processes: frozenset[psutil.Process]
    descriptors: frozenset[str]
    shared_memory: frozenset[str]

    def beyond(self, before: "Holdings") -> list[str]:
        """A line for each thing that is held now and was not held `before`."""
        return [
            *sorted(map(_story, self.processes - before.processes)),
            *(f"descriptor {name}" for name in sorted(self.descriptors - before.descriptors)),
            *(f"shared memory {name}" for name in sorted(self.shared_memory - before.shared_memory)),
        ]


def holdings(scratch: Path) -> Holdings:
    """What is held now, garbage not counted; `scratch` is the directory in which this run's homes are made."""
    gc.collect()
    processes = frozenset(_processes(scratch))
    return Holdings(processes, frozenset(_descriptors()), frozenset(_shared_memory(processes)))


def end_processes_beyond(before: Holdings, scratch: Path) -> None:
    """End what was started since `before`, so that one module's leak does not become the next one's."""
    kill_all(frozenset(_processes(scratch)) - before.processes)


def processes_of_home(home: Path) -> list[psutil.Process]:
    """The living processes, this one apart, whose FLASHTRIAL_HOME is `home`: those that belong to nobody as well."""
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return [process for process in others if _home_of(process) == str(home) and _is_alive(process)]


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL to each, but to no tracker of multiprocessing's: it ends after those whose semaphores it removes."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if "multiprocessing.resource_tracker" not in " ".join(process.cmdline()):
                process.kill()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def names_in_real_home() -> frozenset[str]:
    """What lies in the developer's own ``~/.flashtrial``, two levels deep, where no test has any business."""
    home = Path("~/.flashtrial").expanduser()
    return frozenset(str(path) for pattern in ("*", "*/*") for path in home.glob(pattern))


def _processes(scratch: Path) -> Iterator[psutil.Process]:
    yield from psutil.Process().children(recursive=True)
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _home_of(process).startswith(f"{scratch}/"):
            yield process


def _home_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("FLASHTRIAL_HOME", "")
    except (psutil.Error, OSError):  # gone meanwhile, a zombie, or not ours to read
        return ""


def _story(process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline()) or process.name()
        return f"process {process.pid} ({process.status()}): {command[:300]}"
    except psutil.Error:
        return f"process {process.pid}, which has just ended"


def _descriptors() -> Iterator[str]:
    if not _DESCRIPTORS.is_dir():
        return
    for entry in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - a Path would stat what may be gone
        target = _link(_DESCRIPTORS / entry)
        if _COUNTED.match(target):
            yield f"{entry} -> {target}"


def _shared_memory(ours: frozenset[psutil.Process]) -> Iterator[str]:
    if not _SHARED_MEMORY.is_dir():
        return
    names = {str(path) for path in _SHARED_MEMORY.iterdir() if path.name.startswith(_SEGMENTS)}
    if names:
        yield from names - _used_by_others({process.pid for process in ours} | {os.getpid()}, names)


def _used_by_others(our_pids: set[int], names: set[str]) -> set[str]:
    others = (pid for pid in psutil.pids() if pid not in our_pids)
    return {name for pid in others for name in names & set(_files_of(Path("/proc") / str(pid)))}


def _files_of(process: Path) -> Iterator[str]:
    try:
        for line in (process / "maps").read_text(errors="replace").splitlines():
            yield line[line.find("/") :]
        for entry in os.listdir(process / "fd"):  # noqa: PTH208 - as above
            yield _link(process / "fd" / entry)
    except OSError:  # gone meanwhile, or not ours to read
        return


def _link(path: Path) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - targets such as pipe:[1] are no paths
    except OSError:
        return ""
