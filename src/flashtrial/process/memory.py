"""How much memory a process holds."""

import os
from pathlib import Path


def resident_bytes(pid: int) -> int | None:
    """Bytes of `pid` that are in memory, pages shared with its template counted too; None where nobody can tell.

    Source: the second field of /proc/PID/statm, proc(5).
    """
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
