"""The sync loop on a thread of the trainer, for those who want no process beside it (``sync_process_enabled=False``).

The same code under the same lock, so that of all processes and threads of an outbox one sends. It ends with the
process, and what is left waits on the disk. Loaded on demand only: it brings an HTTP client into the user's process.

A fork shares the lock with its parent, and would keep it after the parent's death: so it closes the lock's file first.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from flashtrial.core import env
from flashtrial.tracking.sync_main import sync_outbox

logger = logging.getLogger(__name__)


class SyncThread:
    """Syncs one outbox until it is idle, or until another process turns out to do so already."""

    def __init__(self, outbox: Path, environment: Mapping[str, str]) -> None:
        self._outbox = outbox
        self._environment = environment
        self._lock_descriptor: int | None = None
        self._thread = threading.Thread(target=self._run, name="flashtrial-sync", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Raises RuntimeError when no thread can be started, as at the end of the interpreter."""
        self._thread.start()

    def forget_after_fork(self) -> None:
        """In the child, which has no such thread."""
        if self._lock_descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock_descriptor)

    def _run(self) -> None:
        home = Path(self._environment[env.HOME])
        try:
            sync_outbox(self._outbox, home, self._environment, threading.Event(), self._keep)
        except OSError as error:
            logger.warning("syncing %s ended: %s", self._outbox, error, extra={"action": "sync_thread_ended"})

    def _keep(self, lock_descriptor: int | None) -> None:
        self._lock_descriptor = lock_descriptor


_threads: dict[Path, SyncThread] = {}  # by outbox


def ensure_sync_thread(outbox: Path, environment: Mapping[str, str]) -> None:
    """Start the thread that syncs `outbox` unless this process has one. Raises RuntimeError when that cannot be.

    `environment` as for the sync process: FLASHTRIAL_HOME must be in it.
    """
    thread = _threads.get(outbox)
    if thread is not None and thread.is_alive:
        return
    _threads[outbox] = thread = SyncThread(outbox, environment)
    thread.start()


def _forget_threads() -> None:
    for thread in _threads.values():
        thread.forget_after_fork()
    _threads.clear()


os.register_at_fork(after_in_child=_forget_threads)
