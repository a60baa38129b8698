"""`flashtrial sync`: one round of sending in the foreground, by the same code as the sync process."""

import contextlib
import time
from pathlib import Path

from flashtrial.cli.outbox import pending
from flashtrial.core import env, files
from flashtrial.core.clock import SystemClock
from flashtrial.core.errors import FlashtrialError
from flashtrial.tracking.address import address_from
from flashtrial.tracking.backends.native import NativeBackend
from flashtrial.tracking.feeds import sweep
from flashtrial.tracking.outbox import lock_path
from flashtrial.tracking.progress import read_status
from flashtrial.tracking.sync import Sync

OTHERS_PATIENCE_S = 10.0
_POLL_S = 0.05


class NotSent(FlashtrialError):
    """Raised when records are left after a round of sending; they stay in the outbox."""


def drain(home: Path, outbox: Path) -> str:
    """Send what `outbox` holds and say how much that was. Raises `NotSent` when records are left."""
    if not outbox.is_dir():
        return "nothing to send"
    before = pending(outbox)
    try:
        with files.file_lock(lock_path(outbox), wait=False):
            _send(home, outbox)
    except files.Locked:
        _wait_for_the_sync_process(outbox)
    left = pending(outbox)
    if left:
        status = read_status(outbox)
        reason = (status.outage if status else None) or "a sync process is still at work"
        raise NotSent(f"{left} records wait in {outbox}: {reason}")
    return f"sent {before} records" if before else "nothing to send"


def _send(home: Path, outbox: Path) -> None:
    environment = env.snapshot()
    with contextlib.closing(NativeBackend(lambda: address_from(home, environment))) as backend:
        sync = Sync(outbox, backend, SystemClock())
        sweep(outbox)
        while sync.step():
            pass


def _wait_for_the_sync_process(outbox: Path) -> None:
    deadline = time.monotonic() + OTHERS_PATIENCE_S
    while pending(outbox) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
