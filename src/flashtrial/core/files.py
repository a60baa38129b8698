"""Files that are complete or absent, directories that only their owner reads, and locks between processes."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

OWNER_ONLY_DIR = 0o700
OWNER_ONLY_FILE = 0o600
STDERR = 2


def ensure_private_dir(path: Path) -> Path:
    """`path`, created with its parents where missing; whatever of that is created here only its owner can read."""
    if not path.parent.exists():  # `mkdir(parents=True)` would give parents the modes that everybody can read
        ensure_private_dir(path.parent)
    path.mkdir(exist_ok=True, mode=OWNER_ONLY_DIR)
    return path


def write_atomically(path: Path, content: bytes, mode: int = OWNER_ONLY_FILE) -> None:
    """Put `content` at `path` so that a reader, or a crash at any moment, sees the old file or the new one.

    Written beside, synced to the disk, renamed into place; the directory entry is synced too.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_dir(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def sync_dir(path: Path) -> None:
    """Make the names in directory `path` survive the death of the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fill_standard_descriptors() -> None:
    """Let those of the descriptors 0 to 2 that are closed lead to nowhere.

    Else the next file that this process opens has such a number, and what C code or a child prints is written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class Locked(Exception):
    """Raised when somebody else holds the lock and the caller did not want to wait."""


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on `path` (created where missing) between processes of this machine.

    The kernel lets go of it when the holder dies, however it dies. Not for network volumes. The descriptor is not
    inherited by programs that the holder starts, but a fork without exec shares the lock while the block runs.

    Raises `Locked` when `wait` is false and another holds it.
    """
    descriptor = open_lock(path)
    try:
        with locked(descriptor, path, wait=wait):
            yield
    finally:
        os.close(descriptor)


def open_lock(path: Path) -> int:
    """A descriptor of the lock file at `path`, created where missing; the caller's to close."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY_FILE)


@contextlib.contextmanager
def locked(descriptor: int, path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the exclusive lock of an open file, as `file_lock` does; `path` is for the message.

    For who must close the descriptor in a fork, which would keep the lock after its parent's death.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise Locked(f"{path} is locked by another process") from None
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
