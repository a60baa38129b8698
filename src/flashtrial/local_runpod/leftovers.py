"""What the code on a worker started and left behind, found by the variables that it inherited.

A container takes everything with it when it ends; a process does not: what a call started in a session of its own
outlives a worker that was killed. The sync process is meant to outlive it and is left alone. Linux only: elsewhere
nothing is found.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from flashtrial.core import env

_PROCESSES = Path("/proc")
_SYNC_PROCESS = b"flashtrial.tracking.sending.sync_main"
# What is killed may have started others since it was seen; those are seen in the next round.
_ROUNDS = 5


def end_leftovers(home: Path, worker_id: str = "") -> int:
    """How many processes of that worker of `home` were killed; of any worker of `home` where none is named.

    For a worker that has ended. Reads all of /proc: some 10 ms.
    """
    killed = 0
    for _ in range(_ROUNDS):
        found = list(_processes_of(home, worker_id))
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed += len(found)
    return killed


def _processes_of(home: Path, worker_id: str) -> Iterator[int]:
    ours = os.fsencode(f"{env.HOME}={home}")
    workers = os.fsencode(f"{env.WORKER_ID}={worker_id}")
    for process in _PROCESSES.glob("[0-9]*"):
        variables = _read(process / "environ").split(b"\0")
        is_of_worker = workers in variables if worker_id else any(one.startswith(workers) for one in variables)
        if ours in variables and is_of_worker and _SYNC_PROCESS not in _read(process / "cmdline"):
            pid = int(process.name)
            if pid != os.getpid():
                yield pid


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone meanwhile, or not ours to read
        return b""
