"""The sync loop on a thread of the trainer, for those who want no process beside it (``sync_process_enabled=False``).

The same code under the same lock, so that of all processes and threads of an outbox one sends. It ends with the
process, and what is left waits on the disk. Loaded on demand only: it brings an HTTP client into the user's process.

A fork shares the lock with its parent, and would keep it after the parent's death: so it closes the lock's file.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from flashtrial.core import env
from flashtrial.core.files import locked, open_lock
from flashtrial.tracking.journal.outbox import lock_path
from flashtrial.tracking.sending.sync_main import sync_outbox

logger = logging.getLogger(__name__)


class SyncThread:
    """Syncs one outbox until it is idle, or until another process turns out to do so already."""

    def __init__(self, outbox: Path, environment: Mapping[str, str]) -> None:
        self._outbox = outbox
        self._environment = environment
        self._lock_descriptor = -1
        self._thread = threading.Thread(target=self._run, name="flashtrial-sync", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Raises OSError, and RuntimeError when no thread can be started, as at the end of the interpreter.

        The lock is opened here and only locked by the thread: so at each fork it is known what to close.
        """
        self._lock_descriptor = open_lock(lock_path(self._outbox))
        try:
            self._thread.start()
        except RuntimeError:
            self.close_lock()
            raise

    def close_lock(self) -> None:
        """Let go of the lock's file; in the child of a fork, which has no such thread, as well."""
        descriptor, self._lock_descriptor = self._lock_descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _run(self) -> None:
        home = Path(self._environment[env.HOME])
        try:
            sync_outbox(self._outbox, home, self._environment, threading.Event(), self._take_lock)
        except OSError as error:
            logger.warning("syncing %s ended: %s", self._outbox, error, extra={"action": "sync_thread_ended"})
        finally:
            self.close_lock()

    def _take_lock(self) -> contextlib.AbstractContextManager[None]:
        return locked(self._lock_descriptor, lock_path(self._outbox), wait=False)


_threads: dict[Path, SyncThread] = {}  # by outbox


def ensure_sync_thread(outbox: Path, environment: Mapping[str, str]) -> None:
    """Start the thread that syncs `outbox` unless this process has one. Raises OSError and RuntimeError.

    `environment` as for the sync process: FLASHTRIAL_HOME must be in it.
    """
    thread = _threads.get(outbox)
    if thread is not None and thread.is_alive:
        return
    _threads[outbox] = thread = SyncThread(outbox, environment)
    thread.start()


def _forget_threads() -> None:
    for thread in _threads.values():
        thread.close_lock()
    _threads.clear()


os.register_at_fork(after_in_child=_forget_threads)
