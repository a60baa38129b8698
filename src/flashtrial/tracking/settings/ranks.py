"""Which process of a distributed job this is: by the variables of launchers (torchrun, SLURM), else by torch.

Asks nobody and waits for nobody: torch is looked at only where it is loaded, and its collectives are not touched.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_AGENTS, _JOB, _RESTARTS = "GROUP_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"
_START_TIME_FIELD = 19  # of /proc/<pid>/stat, counted from the field after the name


def rank_of(environment: Mapping[str, str]) -> int:
    """This process's number among several; 0 for the first one, and where there is only one."""
    for rank, count in _LAUNCHERS:
        if _number(environment.get(count)) > 1:
            return _number(environment.get(rank))
    group = _torch_group()
    return int(group.get_rank()) if group is not None else 0


def is_distributed(environment: Mapping[str, str]) -> bool:
    """Whether this process is one of several that may wait for each other."""
    group = _torch_group()
    return any(_number(environment.get(count)) > 1 for _, count in _LAUNCHERS) or (
        group is not None and int(group.get_world_size()) > 1
    )


def rank_label(environment: Mapping[str, str]) -> str | None:
    """What tells this process's output from that of the others; None where there is only one."""
    return f"rank {rank_of(environment)}" if is_distributed(environment) else None


def shared_launch(environment: Mapping[str, str]) -> str | None:
    """What all ranks of this launch have in common and no other launch has; None where that cannot be told.

    It can for torchrun on one machine, whose agent is an ancestor of all ranks, and the same one after a restart of
    the workers. Several machines, and SLURM's batch steps, have nothing that is surely theirs alone.
    """
    if not environment.get(_JOB) or _number(environment.get("WORLD_SIZE")) < 2 or _number(environment.get(_AGENTS)) > 1:
        return None
    agent = _agent()
    return agent and hashlib.sha256(f"{agent} {environment[_JOB]} {sys.argv[:1]}".encode()).hexdigest()[:20]


def was_restarted(environment: Mapping[str, str]) -> bool:
    """Whether torchrun's agent has started these ranks anew after a failure."""
    return _number(environment.get(_RESTARTS)) > 0


def _torch_group() -> Any:
    """`torch.distributed` where it is in use; it is in use only where somebody has imported it."""
    module: Any = sys.modules.get("torch.distributed")
    return module if module is not None and module.is_available() and module.is_initialized() else None


def _agent() -> str | None:
    """The nearest ancestor that torchrun did not start: its pid and the time of its start."""
    pid = os.getppid()
    try:
        while pid > 1 and f"{_JOB}=".encode() in Path(f"/proc/{pid}/environ").read_bytes():
            pid = int(_stat(pid)[1])
        return f"{os.uname().nodename} {pid} {_stat(pid)[_START_TIME_FIELD]}"
    except (OSError, IndexError):  # no /proc here, or somebody else's process
        return None


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` from the state on: state, parent …"""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
