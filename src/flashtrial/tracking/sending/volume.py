"""Outboxes on a network volume, where no file lock can be trusted: who sends is whoever holds a lease with an epoch.

    <volume>/.flashtrial/outbox/<worker>/    leased                        an outbox of this kind
                                             .sync.lease.<epoch>           who sends from it, and until when
                                             <writer_id>.journal …         as in every outbox

A worker's own sync process renews its lease while it lives. When it has expired another worker's adopts the outbox and
sends what is there. The worker may be alive after all and go on writing: so an adopted journal is only removed when
nobody has written to it for an hour, and a sync process that finds a higher epoch stops at once. What both have sent
meanwhile the destination tells by the sequence numbers.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from flashtrial.core.clock import Clock
from flashtrial.core.files import OWNER_ONLY_FILE, Locked, ensure_private_dir
from flashtrial.core.lease import Lease, LeaseLost
from flashtrial.tracking.journal.facts import boot_id
from flashtrial.tracking.journal.segments import list_segments

__all__ = ["LEASE_S", "LeaseLost", "adoptable", "hold_lease", "is_leased", "may_remove_adopted", "volume_outbox"]

LEASE_S = 60.0
SILENT_S = 3600.0
_NAME = "sync"
_MARK = "leased"


def volume_outbox(volume: Path, worker_id: str) -> Path:
    """The outbox of a worker on `volume`, created where missing.

    Raises OSError, also where files cannot be locked at all: writers lock their journals, to be known as alive.
    """
    outbox = ensure_private_dir(volume / ".flashtrial" / "outbox" / worker_id)
    mark = os.open(outbox / _MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY_FILE)
    try:
        fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(mark)
    return outbox


def is_leased(outbox: Path) -> bool:
    """Whether an outbox lies where locks are not trusted."""
    return (outbox / _MARK).exists()


@contextlib.contextmanager
def hold_lease(outbox: Path, clock: Clock) -> Iterator[Lease]:
    """Hold the lease of a leased outbox while the block runs; the holder renews it.

    On one machine the outbox's lock keeps sync processes apart, so that one that was killed does not make the next one
    wait. Raises `Locked`.
    """
    lease = Lease.acquire(outbox, _NAME, clock, LEASE_S, owner=_machine())
    if lease is None:
        raise Locked(f"{outbox} is leased to another worker")
    try:
        yield lease
    finally:
        lease.release()


def adoptable(own: Path) -> list[Path]:
    """The other workers' outboxes beside `own` in which journals lie; whether they are free only their leases say."""
    return [
        path
        for path in sorted(own.parent.iterdir())
        if path != own and is_leased(path) and list_segments(path) and not _is_held_by_another(path)
    ]


def may_remove_adopted(paths: list[Path]) -> bool:
    """Whether nobody has written to a journal's segments for an hour."""
    return all(time.time() - path.stat().st_mtime > SILENT_S for path in paths)


def _is_held_by_another(outbox: Path) -> bool:
    """A quick look at the newest lease's age; `Lease.acquire` decides."""
    leases = [path.stat().st_mtime for path in outbox.glob(f".{_NAME}.lease.*")]
    return bool(leases) and time.time() - max(leases) < LEASE_S


def _machine() -> str:
    """Names this machine in this life: a container that comes again is another."""
    return f"{os.uname().nodename} {boot_id()}"
