"""Removing contents that no run names: what stayed when a run was removed, and uploads whose record never came."""

import logging
import time
from pathlib import Path

from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.files.rows import named_hashes

logger = logging.getLogger(__name__)

FORGOTTEN_AFTER_S = 7 * 24 * 3600.0


def remove_forgotten(store: BlobStore, db_path: Path, older_than_s: float = FORGOTTEN_AFTER_S) -> int:
    """Remove blobs that no file record names and that nobody wanted to store for `older_than_s`, and what came of
    uploads that were given up; the bytes freed.

    A record may come long after its bytes: a client that was cut off in between sends it when it can. Raises
    `sqlite3.Error` and OSError.
    """
    old = {sha256 for sha256, wanted_at in store.hashes() if time.time() - wanted_at > older_than_s}
    forgotten = old - named_hashes(db_path) if old else old
    freed = sum(store.remove(sha256) for sha256 in forgotten) + store.sweep()
    if freed:
        logger.info("%d bytes removed that no run names", freed, extra={"action": "blobs_removed"})
    return freed
