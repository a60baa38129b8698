"""The worker's sync process: started when there is something to send, and again whenever it has ended.

Children only write journals: they have no token, and what they start would end with them. The sync process is in a
session of its own and outlives the worker, so that what a dead worker's children wrote still arrives.
"""

import asyncio
import logging
import subprocess
import threading
from pathlib import Path
from typing import Final

from flashtrial.core import env
from flashtrial.protocol.records import DamagedFrame
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.journal.sync_start import ensure_sync_process, hold_outbox_open
from flashtrial.tracking.sending.volume import adoptable, is_leased, volume_outbox

LOOK_EVERY_S: Final = 0.25
_VOLUME_LOOKS: Final = 120  # of a network volume, where other workers may have left something: every half minute
_SENT_LOOK_S: Final = 0.05

logger = logging.getLogger(__name__)


def choose_outbox(volume: Path | None, worker_id: str) -> Path:
    """Where this worker's records lie until they are sent: where the operator says, else on the network volume, where
    they survive this worker's container, else in the home.
    """
    if env.get(env.OUTBOX) or volume is None:
        return env.outbox_dir()
    try:
        return volume_outbox(volume, Path(worker_id).name)
    except OSError as error:
        logger.warning(
            "records do not lie on the volume: %s", error, extra={"action": "volume_outbox_unusable"}, exc_info=True
        )
        return env.outbox_dir()


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

    async def wait_until_sent(self, worker_id: str) -> None:
        """Return when all that this worker's children wrote has been sent; they must have ended. Set a deadline.

        Where the container ends with the worker, the sync process and what it has not sent yet end with it.
        """
        while waiting := _journals_of(worker_id, self._outbox):
            logger.debug("%d journals are not wholly sent yet", len(waiting), extra={"action": "sync_awaited"})
            await asyncio.sleep(_SENT_LOOK_S)

    def _keep(self) -> None:
        looks = 0
        while not self._is_needed(look_at_others=looks % _VOLUME_LOOKS == 0):
            looks += 1
            if self._stopped.wait(LOOK_EVERY_S):
                return
        with hold_outbox_open(self._outbox):
            while True:
                self._ensure()
                if self._stopped.wait(LOOK_EVERY_S):
                    return

    def _is_needed(self, *, look_at_others: bool) -> bool:
        """Whether something is to be sent: ours, or what a worker left on the volume that does not come again."""
        if any(self._outbox.glob("*.journal")):
            return True
        try:
            return look_at_others and is_leased(self._outbox) and bool(adoptable(self._outbox))
        except OSError:  # a volume that is away for a moment
            return False

    def _ensure(self) -> None:
        try:
            pid = ensure_sync_process(self._outbox, env.snapshot())
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("the sync process could not be started: %s", error, extra={"action": "sync_not_started"})
            return
        if pid is not None:
            logger.debug("sync process %d started for %s", pid, self._outbox, extra={"action": "sync_started"})


def _journals_of(worker_id: str, outbox: Path) -> list[Path]:
    """The journals that were written on this worker and that the sync process has not removed."""
    return [path for path in outbox.glob("*.journal") if _is_of(worker_id, path)]


def _is_of(worker_id: str, path: Path) -> bool:
    try:
        return JournalReader.open(path).header.facts.get("worker_id") == worker_id
    except (DamagedFrame, OSError):  # set aside or removed meanwhile, or nothing that could be sent
        return False
