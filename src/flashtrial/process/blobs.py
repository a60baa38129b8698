"""Payloads that are too large for a frame: memory files, passed by descriptor and mapped by the receiver.

Where the platform has no memory files (macOS), everything travels inline.
"""

import fcntl
import io
import mmap
import os
from collections.abc import Iterator, Sequence
from typing import Final

from flashtrial.process.packing import Part
from flashtrial.protocol.child import INLINE_LIMIT, ProtocolError

Blob = bytes | memoryview

HAS_FILES: Final = hasattr(os, "memfd_create")
_CHUNK_CHARS: Final = 256 * 1024  # what is encoded and written while it is in the processor's cache


def to_file(parts: Sequence[Part]) -> int | None:
    """A descriptor holding `parts` one after the other, the caller's to close; None when they fit into a frame."""
    if sum(map(len, parts)) < INLINE_LIMIT or not HAS_FILES:
        return None
    with new_file() as file:
        for part in parts:
            for chunk in _chunks(part):
                write_all(file, chunk)
        seal(file)
        return os.dup(file.fileno())


def new_file() -> io.FileIO:
    """An empty memory file, where there are such (`HAS_FILES`)."""
    return io.FileIO(os.memfd_create("flashtrial-blob", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w")


def write_all(file: io.FileIO, payload: bytes | bytearray | memoryview) -> None:
    """Write `payload`, in as many turns as the kernel wants."""
    view = memoryview(payload)
    while view:
        view = view[file.write(view) :]


def seal(file: io.FileIO) -> None:
    """Nobody can make it shorter from now on: that would kill its reader."""
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)


def joined(parts: Sequence[Part]) -> bytes:
    """`parts` as they travel inline."""
    if len(parts) == 1 and isinstance(parts[0], bytes):
        return parts[0]
    return b"".join(map(_encoded, parts))


def take(inline: bytes | None, descriptors: list[int]) -> Blob:
    """The payload that was sent inline, else the first of `descriptors`, mapped; it is taken out and closed.

    Raises `ProtocolError` for a file that is none of `to_file`: one that can still shrink would kill its reader.
    """
    if inline is not None:
        return inline
    if not descriptors:
        raise ProtocolError("neither a payload nor a descriptor of one")
    descriptor = descriptors.pop(0)
    try:
        if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise ProtocolError("a memory file that is not sealed against shrinking")
        return memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
    except (OSError, ValueError) as error:
        raise ProtocolError(f"a descriptor that is no memory file of ours: {error}") from error
    finally:
        os.close(descriptor)


def _encoded(part: Part) -> bytes:
    return part.encode("ascii") if isinstance(part, str) else part


def _chunks(part: Part) -> Iterator[bytes]:
    """`part` as bytes; a large string is not encoded as a whole, which would take its size of memory once more."""
    if isinstance(part, bytes):
        yield part
        return
    for start in range(0, len(part), _CHUNK_CHARS):
        yield part[start : start + _CHUNK_CHARS].encode("ascii")
