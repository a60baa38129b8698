"""Which process of a distributed job this is, by the variables that launchers set (torchrun, SLURM)."""

from collections.abc import Mapping

_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


def rank_of(environment: Mapping[str, str]) -> int:
    """This process's number among several; 0 for the first one, and where there is only one."""
    for rank, count in _LAUNCHERS:
        if _number(environment.get(count)) > 1:
            return _number(environment.get(rank))
    return 0


def rank_label(environment: Mapping[str, str]) -> str | None:
    """What tells this process's output from that of the others; None where there is only one."""
    if any(_number(environment.get(count)) > 1 for _, count in _LAUNCHERS):
        return f"rank {rank_of(environment)}"
    return None


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
