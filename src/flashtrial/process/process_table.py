"""What the kernel's table says of processes that are over; Linux, elsewhere nothing is known."""

import os
from pathlib import Path


def exit_code_of_zombie(pid: int) -> int | None:
    """How `pid` ended (negative: signal), while nobody has reaped it; None once somebody has, or while it lives.

    Source: fields 3 and 52 of /proc/PID/stat, proc(5); those of the same user may read them.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return os.waitstatus_to_exitcode(int(fields[49])) if fields[0] == "Z" else None
    except (OSError, ValueError, IndexError):
        return None
