"""The worker's sync process: started when the first journal appears, and again whenever it has ended.

Children only write journals: they have no token, and what they start would end with them. The sync process is in a
session of its own and outlives the worker, so that what a dead worker's children wrote still arrives.
"""

import logging
import subprocess
import threading
from pathlib import Path
from typing import Final

from flashtrial.core import env
from flashtrial.tracking.sync_start import ensure_sync_process, hold_outbox_open

LOOK_EVERY_S: Final = 0.25

logger = logging.getLogger(__name__)


class SyncKeeper:
    """Looks after the sync process of one outbox from a daemon thread."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="sync-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; the sync process goes on until all is sent."""
        self._stopped.set()
        self._thread.join()

    def _keep(self) -> None:
        while not any(self._outbox.glob("*.journal")):
            if self._stopped.wait(LOOK_EVERY_S):
                return
        with hold_outbox_open(self._outbox):
            while True:
                self._ensure()
                if self._stopped.wait(LOOK_EVERY_S):
                    return

    def _ensure(self) -> None:
        try:
            pid = ensure_sync_process(self._outbox, env.snapshot())
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("the sync process could not be started: %s", error, extra={"action": "sync_not_started"})
            return
        if pid is not None:
            logger.debug("sync process %d started for %s", pid, self._outbox, extra={"action": "sync_started"})
