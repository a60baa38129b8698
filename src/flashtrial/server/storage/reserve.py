"""Room on the disk that is kept for the day on which it is full: enough to remove runs, which needs room at first."""

import contextlib
import logging
import os
import shutil
import sqlite3
from pathlib import Path

from flashtrial.core.files import OWNER_ONLY_FILE
from flashtrial.server.storage.reading import reading

logger = logging.getLogger(__name__)

# SQLite moves its log into the database once it has 4 MiB, and may need as much again for that.
RESERVE_BYTES = 8 * 1024 * 1024
NEARLY_FULL_BYTES = 1024 * 1024
LENT_BYTES = 256 * 1024
_BLOCK_BYTES = 1024 * 1024
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})


def is_full(error: BaseException) -> bool:
    """Whether SQLite failed for want of room on the disk, or in a quota of it.

    Of a quota that is used up SQLite says only that a write failed, as it does of a disk that is broken.
    """
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in _NO_ROOM


def is_nearly_full(directory: Path) -> bool:
    """Whether the disk of `directory` has next to no room. Raises OSError."""
    return shutil.disk_usage(directory).free < NEARLY_FULL_BYTES


def has_room(db_path: Path) -> bool:
    """Whether disk or database have room for another request. Raises OSError and `sqlite3.Error`."""
    free_bytes = shutil.disk_usage(db_path.parent).free
    if free_bytes >= NEARLY_FULL_BYTES:
        return True
    with reading(db_path) as connection:  # what was removed leaves pages that are used again
        (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return bool(free_bytes + pages * page_bytes >= NEARLY_FULL_BYTES)


class Reserve:
    """A file of `size_bytes` that nobody reads. Best effort: without room for it there is none. For one thread."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def hold(self) -> None:
        """Make the file whole, where it is not and the disk has plenty for it."""
        try:
            is_whole = self._held_bytes() >= self._size_bytes
            if not is_whole and shutil.disk_usage(self._path.parent).free > 4 * self._size_bytes:
                self._make()
        except OSError as error:
            self.release()
            logger.info("no room is kept for a full disk: %s", error, extra={"action": "reserve_failed"})

    def _held_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _make(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY_FILE)
        try:
            _allocate(descriptor, self._size_bytes)
        finally:
            os.close(descriptor)

    def lend(self) -> None:
        """Give a little of the room back."""
        with contextlib.suppress(OSError):
            os.truncate(self._path, max(0, self._path.stat().st_size - LENT_BYTES))

    def release(self) -> None:
        """Give the room back."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _allocate(descriptor: int, size_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
        return
    for start in range(0, size_bytes, _BLOCK_BYTES):  # macOS has no such call
        os.pwrite(descriptor, bytes(min(_BLOCK_BYTES, size_bytes - start)), start)
    os.fsync(descriptor)
