"""Payloads that are too large for a frame: memory files, passed by descriptor and mapped by the receiver.

Where the platform has no memory files (macOS), everything travels inline.
"""

import mmap
import os
from collections.abc import Callable, Sequence

from flashtrial.process.packing import Part
from flashtrial.protocol.child import INLINE_LIMIT

Blob = bytes | memoryview


def to_file(parts: Sequence[Part]) -> int | None:
    """A descriptor holding `parts` one after the other, the caller's to close; None when they fit into a frame."""
    if sum(map(len, parts)) < INLINE_LIMIT or not hasattr(os, "memfd_create"):
        return None
    descriptor = os.memfd_create("flashtrial-blob", os.MFD_CLOEXEC)
    try:
        for part in parts:
            _write_all(descriptor, _encoded(part))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def joined(parts: Sequence[Part]) -> bytes:
    """`parts` as they travel inline."""
    return b"".join(map(_encoded, parts))


def take(inline: bytes | None, next_descriptor: Callable[[], int]) -> Blob:
    """The payload that was sent inline, else the next passed descriptor's, mapped; the descriptor is closed."""
    if inline is not None:
        return inline
    descriptor = next_descriptor()
    try:
        return memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
    finally:
        os.close(descriptor)


def _encoded(part: Part) -> bytes:
    return part.encode("ascii") if isinstance(part, str) else part


def _write_all(descriptor: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]
