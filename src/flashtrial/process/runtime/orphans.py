"""Processes that this one adopted: daemons that left their session, whose parents are gone. A child of ours is a
subreaper, so they become its children; when they end somebody has to reap them, and the user's code does not know them.

Runs inside children: standard library only. Linux; elsewhere nobody is adopted.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

_STATE, _SESSION = 0, 3  # after the name in /proc/PID/stat, proc(5)
_ZOMBIE: Final = "Z"


def reap_orphans() -> int:
    """Reap adopted processes that have ended; how many.

    The user's own children, living or dead, are left alone: their status is the user's. They are told apart by their
    session: a process that we started is in ours or leads one of its own, a daemon is in that of a parent it lost.
    """
    own_session, reaped = os.getsid(0), 0
    for pid in _children():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if fields[_STATE] == _ZOMBIE and int(fields[_SESSION]) not in (own_session, pid):
                reaped += os.waitpid(pid, os.WNOHANG)[0] == pid
    return reaped


def _children() -> list[int]:
    try:
        # of the main thread, whose number is the process's: it is the one that adopts
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    except OSError:  # not Linux, or a kernel without it
        return []
    return [int(pid) for pid in text.split()]
