"""The bytes of files, each content once, under the name of its SHA-256; no name that a client chose is ever a path.

::

    <root>/partial/<sha256>-<size>      begin ─▶ write, write, … (each from where the last one ended)
    <root>/<first two digits>/<sha256>  ◀─ commit: hash checked, synced, renamed into place

An upload goes on where it was, after the death of either side, since what has arrived is the size of its partial file.
Two clients that bring the same content share one. What does not come over HTTP in chunks, such as the single PUT of the
Pluto protocol or a file that a server makes itself, goes through `BlobStore.incoming`::

    with store.incoming(max_bytes) as incoming:
        for data in stream:
            incoming.write(data)
        key = incoming.commit()       # BlobKey(sha256, size): what a file record names

Any thread may call any method. Locks are the kernel's, on the partial files, so that a death lets go of them.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flashtrial.core import files
from flashtrial.core.errors import FlashtrialError
from flashtrial.server.files.limits import BlobLimits

ABANDONED_AFTER_S = 7 * 24 * 3600.0
WANTED_FOR_S = 3600.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


class TooLarge(FlashtrialError):
    """Raised when a blob, or all blobs of its run, would be larger than this server takes."""


class StoreFull(FlashtrialError):
    """Raised when there is no room for more now: by the limit of the server, or of its disk."""


class NoSuchUpload(FlashtrialError):
    """Raised when bytes come for an upload that was not begun, or was given up; begin it."""


class OutOfPlace(FlashtrialError):
    """Raised when a chunk does not begin where the upload stands, or a commit comes too early.

    `received` says how many bytes are there.
    """

    def __init__(self, reason: str, received: int) -> None:
        super().__init__(reason)
        self.received = received


class BlobDamaged(FlashtrialError):
    """Raised when what arrived is not what its hash says. It is thrown away; the upload begins again."""


@dataclass(frozen=True, slots=True)
class BlobKey:
    """One content: its SHA-256 in 64 lower-case hexadecimal digits, and its size. Raises ValueError for others."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256) or not 0 <= self.size_bytes < 2**63:
            raise ValueError("a blob is named by 64 lower-case hexadecimal digits and a size")


@dataclass(frozen=True, slots=True)
class UploadState:
    """How far an upload has come: `received_bytes` from the start, all of it checked when `is_complete`."""

    key: BlobKey
    received_bytes: int
    is_complete: bool


class BlobStore:
    """The blobs below `root`. `start` before all else; it may be called again."""

    def __init__(self, root: Path, limits: BlobLimits | None = None) -> None:
        self._root = root
        self._partial = root / "partial"
        self.limits = limits or BlobLimits()
        self._lock = threading.Lock()  # guards the two below, and the removal of blobs
        self._used_bytes = 0
        self._wanted: dict[str, float] = {}  # blobs that a second client found here, and when

    def start(self) -> None:
        """Make the folders, remove uploads that nobody went on with for a week, and count what is there.

        What comes in meanwhile goes on, in this process and in others: an import runs beside a server.
        """
        files.ensure_private_dir(self._partial)
        for path in self._partial.glob("incoming-*"):
            _remove_unless_held(path)
        self.sweep()
        used_bytes = sum(path.stat().st_size for path in self._root.glob("*/*"))
        with self._lock:
            self._used_bytes = used_bytes

    def sweep(self) -> int:
        """Remove uploads that nobody went on with for a week; the bytes freed. Who comes later begins anew."""
        freed = 0
        for path in self._partial.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                found = path.stat()
                if time.time() - found.st_mtime > ABANDONED_AFTER_S:
                    path.unlink()
                    freed += found.st_size
        self._forget_bytes(freed)
        return freed

    @property
    def used_bytes(self) -> int:
        """What all blobs have together, unfinished uploads included."""
        return self._used_bytes

    def path_of(self, sha256: str) -> Path | None:
        """Where the whole blob lies; None when it is not here (yet), or when this is no hash."""
        if not _SHA256.fullmatch(sha256):
            return None
        path = self._place(sha256)
        return path if path.is_file() else None

    def begin(self, key: BlobKey, *, run_bytes: int = 0) -> UploadState:
        """Start an upload, or find out where it stands. `run_bytes` is what its run has in other blobs.

        Raises `TooLarge` and `StoreFull`.
        """
        while True:
            with contextlib.suppress(NoSuchUpload):  # it ended while we waited for it: look again
                return self._begin(key, run_bytes)

    def _begin(self, key: BlobKey, run_bytes: int) -> UploadState:
        if self._is_wanted_again(key.sha256):
            return UploadState(key, key.size_bytes, is_complete=True)
        self._check_size(key.size_bytes, run_bytes)
        with self._locked_partial(key, create=True) as descriptor:
            if self.path_of(key.sha256) is not None:  # another client has just committed the same
                self._partial_path(key).unlink()
                raise NoSuchUpload
            received = os.fstat(descriptor).st_size
            self._check_room(key.size_bytes - received)
        return UploadState(key, received, is_complete=False)

    def write(self, key: BlobKey, offset: int, data: bytes) -> UploadState:
        """Add a chunk that starts at `offset`; what of it is there already is left as it is.

        Raises `NoSuchUpload`, `OutOfPlace` and `StoreFull`.
        """
        if self.path_of(key.sha256) is not None:
            return UploadState(key, key.size_bytes, is_complete=True)
        with self._locked_partial(key) as descriptor:
            received = os.fstat(descriptor).st_size
            if offset > received or offset + len(data) > key.size_bytes:
                raise OutOfPlace(f"the chunk at {offset} does not go on at {received} of {key.size_bytes}", received)
            fresh = memoryview(data)[received - offset :]
            self._check_room(len(fresh))
            self._write_all(descriptor, fresh, received)
        return UploadState(key, received + len(fresh), is_complete=False)

    def commit(self, key: BlobKey) -> UploadState:
        """Check what has arrived and put it in its place, synced. Committing again does no harm.

        Raises `NoSuchUpload`, `OutOfPlace` when bytes are missing, and `BlobDamaged`.
        """
        done = UploadState(key, key.size_bytes, is_complete=True)
        if self.path_of(key.sha256) is not None:
            return done
        with self._locked_partial(key) as descriptor:
            received = os.fstat(descriptor).st_size
            if received != key.size_bytes:
                raise OutOfPlace(f"{received} of {key.size_bytes} bytes are here", received)
            with os.fdopen(os.dup(descriptor), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != key.sha256:
                self._partial_path(key).unlink()
                self._forget_bytes(received)
                raise BlobDamaged(f"what arrived has the SHA-256 {digest}, not {key.sha256}: send it again")
            self._settle(descriptor, self._partial_path(key), key.sha256)
        return done

    def remove(self, sha256: str) -> int:
        """Remove a whole blob; how many bytes that freed. For who knows that no file record names it any more.

        What another client was told within the last hour that it need not send stays: its record is on the way.
        """
        with self._lock:
            path = self.path_of(sha256)
            if path is None or time.monotonic() - self._wanted.get(sha256, -WANTED_FOR_S) < WANTED_FOR_S:
                return 0
            size_bytes = path.stat().st_size
            path.unlink()
            self._used_bytes -= size_bytes
        return size_bytes

    def hashes(self) -> Iterator[tuple[str, float]]:
        """Each whole blob's SHA-256 and the time at which somebody last wanted to store it, in seconds since 1970."""
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                yield path.name, path.stat().st_mtime

    @contextlib.contextmanager
    def incoming(self, max_bytes: int | None = None) -> Iterator["Incoming"]:
        """Bytes of which neither hash nor size are known yet; gone at the end of the block unless committed."""
        path, descriptor = _new_incoming(self._partial)
        incoming = Incoming(self, path, descriptor, min(max_bytes or self.limits.file_bytes, self.limits.file_bytes))
        try:
            yield incoming
        finally:
            if not incoming.is_committed:
                path.unlink(missing_ok=True)
                self._forget_bytes(os.fstat(descriptor).st_size)
            os.close(descriptor)

    def _is_wanted_again(self, sha256: str) -> bool:
        """Whether the whole blob is here; then it stays for a while, named or not."""
        with self._lock:
            path = self.path_of(sha256)
            if path is None:
                return False
            os.utime(path)  # for clean-ups after a restart
            now = time.monotonic()
            self._wanted.pop(sha256, None)
            self._wanted[sha256] = now  # the last: the dict is ordered by time
            while now - self._wanted[oldest := next(iter(self._wanted))] >= WANTED_FOR_S:
                del self._wanted[oldest]
        return True

    def _place(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    def _partial_path(self, key: BlobKey) -> Path:
        return self._partial / f"{key.sha256}-{key.size_bytes}"

    @contextlib.contextmanager
    def _locked_partial(self, key: BlobKey, *, create: bool = False) -> Iterator[int]:
        """The open file of an upload that nobody else writes to or commits meanwhile. Raises `NoSuchUpload`."""
        path = self._partial_path(key)
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            descriptor = os.open(path, flags, files.OWNER_ONLY_FILE)
        except FileNotFoundError:
            raise NoSuchUpload("this upload was not begun, or it is complete: begin it") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_still(path, descriptor):  # committed or thrown away while we waited, maybe begun anew
                raise NoSuchUpload("this upload has just ended: begin it again")
            yield descriptor
        finally:
            os.close(descriptor)

    def _settle(self, descriptor: int, path: Path, sha256: str) -> None:
        """Put a checked file in its place, where it survives the death of the machine."""
        os.fsync(descriptor)
        place = self._place(sha256)
        if not place.parent.exists():
            files.ensure_private_dir(place.parent)
            files.sync_dir(self._root)
        path.replace(place)
        files.sync_dir(place.parent)

    def _write_all(self, descriptor: int, data: memoryview, offset: int) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], offset + written)
        except OSError as error:
            raise StoreFull(f"the server's disk took no more: {error.strerror}") from error
        finally:
            self._forget_bytes(-written)

    def _check_size(self, size_bytes: int, run_bytes: int) -> None:
        if size_bytes > self.limits.file_bytes:
            raise TooLarge(f"{size_bytes} bytes are more than the {self.limits.file_bytes} that one file may have")
        if run_bytes + size_bytes > self.limits.run_bytes:
            raise TooLarge(f"the files of this run would have more than {self.limits.run_bytes} bytes together")

    def _check_room(self, more_bytes: int) -> None:
        if more_bytes <= 0:
            return
        if self._used_bytes + more_bytes > self.limits.total_bytes:
            raise StoreFull(f"all files together would have more than {self.limits.total_bytes} bytes")
        if shutil.disk_usage(self._root).free - more_bytes < self.limits.reserve_bytes:
            raise StoreFull("the server's disk is nearly full")

    def _forget_bytes(self, size_bytes: int) -> None:
        with self._lock:
            self._used_bytes -= size_bytes


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _new_incoming(folder: Path) -> tuple[Path, int]:
    """A new file, open and locked."""
    while True:
        path = folder / f"incoming-{secrets.token_hex(16)}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, files.OWNER_ONLY_FILE)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_still(path, descriptor):
            return path, descriptor
        os.close(descriptor)  # another process started between the two lines, and took it for a dead one's


def _remove_unless_held(path: Path) -> None:
    """Remove a file of `_new_incoming` whose process is dead."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


class Incoming:
    """One content on its way in, hashed as it comes. Belongs to one thread at a time; made by `BlobStore.incoming`."""

    def __init__(self, store: BlobStore, path: Path, descriptor: int, max_bytes: int) -> None:
        self._store = store
        self._path = path
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.is_committed = False

    def write(self, data: bytes) -> None:
        """Add `data` at the end. Raises `TooLarge` and `StoreFull`."""
        if self.size_bytes + len(data) > self._max_bytes:
            raise TooLarge(f"more than the {self._max_bytes} bytes that one file may have")
        self._store._check_room(len(data))  # noqa: SLF001 - the other half of one thing
        self._store._write_all(self._descriptor, memoryview(data), self.size_bytes)  # noqa: SLF001
        self._hash.update(data)
        self.size_bytes += len(data)

    def commit(self) -> BlobKey:
        """Keep it; the key under which it is from now on, whether it was there before or not. Raises OSError."""
        key = BlobKey(self._hash.hexdigest(), self.size_bytes)
        if not self._store._is_wanted_again(key.sha256):  # noqa: SLF001
            self._store._settle(self._descriptor, self._path, key.sha256)  # noqa: SLF001
            self.is_committed = True
        return key
