"""Payloads that are too large for a frame: memory files, passed by descriptor and mapped by the receiver.

Where the platform has no memory files (macOS), everything travels inline.
"""

import fcntl
import mmap
import os
from collections.abc import Sequence

from flashtrial.process.packing import Part
from flashtrial.protocol.child import INLINE_LIMIT, ProtocolError

Blob = bytes | memoryview


def to_file(parts: Sequence[Part]) -> int | None:
    """A descriptor holding `parts` one after the other, the caller's to close; None when they fit into a frame."""
    if sum(map(len, parts)) < INLINE_LIMIT or not hasattr(os, "memfd_create"):
        return None
    descriptor = os.memfd_create("flashtrial-blob", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            _write_all(descriptor, _encoded(part))
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def joined(parts: Sequence[Part]) -> bytes:
    """`parts` as they travel inline."""
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


def _write_all(descriptor: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]
