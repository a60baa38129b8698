"""The staging folder of an outbox: the bytes of logged files until every destination has them.

::

    <outbox>/files/<sha256>           the bytes, each content once
    <outbox>/files/<sha256>.<ref>     a hard link for each record that names them; the record's body says `staged: ref`
    <outbox>/files/dead/…             links whose bytes the server will never take (too large, damaged)

A link per record needs no counting: whoever has delivered a record removes its link, and a content that has no link but
its own name left is removed too. A new link to a content that is just being removed keeps the bytes. Where the file
system knows no hard links, each record has a copy of its own.

What is staged is never the user's own file, which may change after `log`: it is a clone where the file system shares
blocks, else a copy, made and hashed in one reading. As a journal, it is in the kernel's hands when staging returns, and
safe against the death of processes. Any process and thread may stage. Standard library only.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashtrial.core.files import OWNER_ONLY_FILE, ensure_private_dir
from flashtrial.core.ids import new_id
from flashtrial.tracking.journal.outbox import OutboxUnwritable

READ_BYTES = 1024 * 1024
ABANDONED_AFTER_S = 3600.0
_CLONE = 0x40049409  # FICLONE of linux/fs.h: share the blocks of another file
_ZEROS = bytes(READ_BYTES)
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Staged:
    """One reference to a staged content."""

    sha256: str
    size_bytes: int
    ref: str


def files_dir(outbox: Path) -> Path:
    """Where the bytes of an outbox's files lie; it is there when some were ever staged and not all delivered."""
    return outbox / "files"


def staged_path(outbox: Path, body: Mapping[str, Any]) -> Path | None:
    """Where the bytes of a file record lie; None when its body names no staged file.

    The path is made of digits and letters alone, whatever the body says. The file may be gone.
    """
    match body:
        case {"sha256": str(sha256), "staged": str(ref)} if sha256.isalnum() and ref.replace("_", "").isalnum():
            return files_dir(outbox) / f"{sha256}.{ref}"
    return None


def stage_bytes(outbox: Path, content: bytes) -> Staged:
    """Keep `content`. Raises `OutboxUnwritable`."""
    sha256 = hashlib.sha256(content).hexdigest()
    with _said_of(outbox):
        folder = ensure_private_dir(files_dir(outbox))
        staged = Staged(sha256, len(content), new_id("st"))
        if not _link(folder / sha256, _place(folder, staged)):
            with _new_file(outbox) as (beside, descriptor):
                _write(descriptor, content)
                _adopt(folder, beside, staged)
    return staged


def stage_file(outbox: Path, path: Path) -> Staged:
    """Keep what the regular file at `path` holds now. Raises `OutboxUnwritable`, and OSError when it cannot be read."""
    with path.open("rb", buffering=0) as source:
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            raise OSError(errno.EINVAL, "only regular files can be logged", str(path))
        with _new_file(outbox) as (beside, descriptor):
            folder = beside.parent
            sha256, size_bytes = _copied(outbox, source.fileno(), descriptor)
            staged = Staged(sha256, size_bytes, new_id("st"))
            with _said_of(outbox):
                if not _link(folder / sha256, _place(folder, staged)):
                    _adopt(folder, beside, staged)
    return staged


def release(path: Path) -> None:
    """A record's bytes are where they belong: remove its link, and the content if that was the last one."""
    path.unlink(missing_ok=True)
    content = path.with_name(path.name.partition(".")[0])
    with contextlib.suppress(FileNotFoundError):
        if content.stat().st_nlink == 1:
            content.unlink()


def set_aside(path: Path) -> None:
    """Keep bytes that no destination takes, for people to look at."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(ensure_private_dir(path.parent / "dead") / path.name)


def sweep(outbox: Path, *, has_journals: bool) -> None:
    """Remove what deaths left: files half written, and, where no journal is left that could name them, all the rest.

    What is younger than an hour may belong to a record that is just written, and stays.
    """
    folder = files_dir(outbox)
    with contextlib.suppress(FileNotFoundError):
        for entry in list(os.scandir(folder)):
            with contextlib.suppress(FileNotFoundError):
                is_old = time.time() - entry.stat().st_ctime > ABANDONED_AFTER_S
                if entry.is_file() and is_old and (entry.name.startswith(".") or not has_journals):
                    Path(entry.path).unlink()
        if not has_journals:
            _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # a process may just be staging something
        folder.rmdir()


@contextlib.contextmanager
def _said_of(outbox: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutboxUnwritable(f"a file could not be staged in {files_dir(outbox)}: {error.strerror}") from error


def _place(folder: Path, staged: Staged) -> Path:
    return folder / f"{staged.sha256}.{staged.ref}"


@contextlib.contextmanager
def _new_file(outbox: Path) -> Iterator[tuple[Path, int]]:
    """A file beside all others; gone at the end of the block unless it was renamed. Raises `OutboxUnwritable`."""
    path = files_dir(outbox) / f".{new_id('new')}"
    with _said_of(outbox):
        try:
            descriptor = _opened_new(path)
        except FileNotFoundError:  # a sync process has just removed the empty folder
            descriptor = _opened_new(path)
    try:
        yield path, descriptor
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # gone, since it was renamed, or left for the next sweep
            path.unlink()


def _opened_new(path: Path) -> int:
    ensure_private_dir(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY_FILE)


def _link(existing: Path, new: Path) -> bool:
    """Whether `existing` was there to be linked, and was."""
    try:
        os.link(existing, new)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def _adopt(folder: Path, beside: Path, staged: Staged) -> None:
    """Give a whole new file the name of its record, and that of its content for later ones."""
    place = _place(folder, staged)
    beside.replace(place)
    with contextlib.suppress(FileExistsError):  # another process staged the same content at the same time
        _link(place, folder / staged.sha256)


def _copied(outbox: Path, source: int, target: int) -> tuple[str, int]:
    """SHA-256 and size of what was copied from the open file `source`, which is read once."""
    with contextlib.suppress(OSError):  # another file system, or one that shares no blocks
        fcntl.ioctl(target, _CLONE, source)
        with os.fdopen(os.dup(target), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(target).st_size
    digest = hashlib.sha256()
    size_bytes = 0
    while data := os.read(source, READ_BYTES):
        digest.update(data)
        with _said_of(outbox):
            _write_or_skip(target, data)
        size_bytes += len(data)
    with _said_of(outbox):
        os.ftruncate(target, size_bytes)
    return digest.hexdigest(), size_bytes


def _write_or_skip(descriptor: int, data: bytes) -> None:
    """Zeros become a hole: a sparse file stays one."""
    if data == _ZEROS[: len(data)]:
        os.lseek(descriptor, len(data), os.SEEK_CUR)
    else:
        _write(descriptor, data)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
