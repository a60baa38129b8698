"""Who belongs to a child: the processes that it started may use its GPU, and are part of what it holds."""

from pathlib import Path


def family_of(pid: int) -> list[int]:
    """`pid` and all that came from it and live; `pid` alone where the kernel does not tell.

    Source: /proc/PID/task/TID/children, proc(5). Takes tens of microseconds a process.
    """
    family = [pid]
    for member in family:  # grows while it is walked
        family += _children_of(member)
    return family


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, listing.read_text(encoding="ascii").split())
        except OSError:
            continue  # the thread, or the process, ended meanwhile
    return found
