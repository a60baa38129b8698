"""What a journal's header says of its writer and of what its settings ask of the sync process. No secret is in it.

Runs inside user processes: standard library only.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.settings.address import server_meant
from flashtrial.tracking.settings.resolution import Courier, EffectiveSettings

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")


class Role(StrEnum):
    """What a writer is to its run: only an owner's end is the run's."""

    OWNER = "owner"
    GUEST = "guest"
    JOINED = "joined"


def journal_facts(settings: EffectiveSettings, role: Role) -> dict[str, JsonValue]:
    """For `JournalHeader.facts`."""
    return {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "worker_id": settings.worker_id,
        "role": role.value,
        "boot_id": boot_id(),
        "oom_kills": oom_kills(),
        "url": server_of(settings),
        "home": None if settings.courier is Courier.WORKER else str(settings.home),
        "backends": list(settings.backends),
        "outbox_bytes": settings.limits.outbox_bytes,
        "when_full": str(settings.limits.when_full),
    }


def server_of(settings: EffectiveSettings) -> str | None:
    """The server that is meant: an address, `INSTANCE`, or None where the sync process is to find it.

    A worker's child says nothing: its worker knows, and may have moved when its records are sent.
    """
    return None if settings.courier is Courier.WORKER else server_meant(settings.home, settings.url)


def boot_id() -> str | None:
    """Changes with each start of the machine; None where the system does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None


def oom_kills() -> int:
    """How many processes of this container the kernel has killed for want of memory; 0 where nobody counts."""
    try:
        lines = _MEMORY_EVENTS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def why_gone(facts: Mapping[str, JsonValue]) -> str:
    """What is known of why a writer is gone that ended no run, in one sentence for people."""
    host, pid = facts.get("host"), facts.get("pid")
    who = f"process {pid} on {host}" if pid and host else "its process"
    here = os.uname().nodename
    if host != here:
        return f"{who} ended without finishing the run, as seen from {here}"
    if facts.get("boot_id") not in (None, boot_id()):
        return f"{who} ended without finishing the run: the machine was started again since"
    killed_before = facts.get("oom_kills")
    if isinstance(killed_before, int) and oom_kills() > killed_before:
        return f"{who} ended without finishing the run: the kernel has killed for want of memory since it began"
    return f"{who} ended without finishing the run (killed, or its container stopped)"
