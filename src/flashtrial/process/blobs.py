"""Payloads that are too large for a frame: memory files, passed by descriptor.

Where the platform has no memory files (macOS), everything travels inline.
"""

import os
from collections.abc import Callable

from flashtrial.protocol.child import INLINE_LIMIT


def to_file(payload: bytes) -> int | None:
    """A descriptor holding `payload`, the caller's to close; None when it is small enough for the frame."""
    if len(payload) < INLINE_LIMIT or not hasattr(os, "memfd_create"):
        return None
    descriptor = os.memfd_create("flashtrial-blob", os.MFD_CLOEXEC)
    try:
        _write_all(descriptor, payload)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def take(inline: bytes | None, next_descriptor: Callable[[], int]) -> bytes:
    """The payload that was sent inline, else that of the next passed descriptor, which is read and closed."""
    if inline is not None:
        return inline
    descriptor = next_descriptor()
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)  # the offset is shared with the writer, who left it at the end
        return file.read()


def _write_all(descriptor: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]
