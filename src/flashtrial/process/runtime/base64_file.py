"""A result's base64, made while it is pickled: neither the pickle nor its base64 is ever in memory as a whole.

What stays below `INLINE_LIMIT` is handed out as bytes, what does not as a memory file. Runs inside children: standard
library and, where it is there, pybase64.
"""

import io
from pickle import PickleBuffer
from typing import Final

from flashtrial.process import blobs
from flashtrial.protocol.child import INLINE_LIMIT

try:
    import pybase64 as base64  # seven times as quick
except ImportError:  # a client without the worker extra
    import base64  # type: ignore[no-redef]

_b64encode = base64.b64encode
_GROUP: Final = 3  # bytes that become four characters
_CHUNK_BYTES: Final = 3 * 256 * 1024  # encoded and written while it is in the processor's cache


class Base64File:
    """What a pickler writes to. One thread; the file that `finish` hands out is the caller's to close."""

    def __init__(self) -> None:
        self._rest = b""
        self._small = bytearray()
        self._file: io.FileIO | None = None

    def write(self, data: bytes | PickleBuffer) -> int:
        """Take `data`, which is not kept; its size in bytes."""
        view = data.raw() if isinstance(data, PickleBuffer) else memoryview(data)
        size = len(view)
        if self._rest:
            missing = _GROUP - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < _GROUP:
                return size
            self._put(_b64encode(self._rest))
        whole = len(view) - len(view) % _GROUP
        for start in range(0, whole, _CHUNK_BYTES):
            self._put(_b64encode(view[start : min(start + _CHUNK_BYTES, whole)]))
        self._rest = bytes(view[whole:])
        return size

    def finish(self) -> bytes | io.FileIO:
        """All of it, once nothing more is written: bytes where they fit into a frame, else a sealed memory file."""
        self._put(_b64encode(self._rest))
        if self._file is None:
            return bytes(self._small)
        blobs.seal(self._file)
        return self._file

    def _put(self, encoded: bytes) -> None:
        if self._file is not None:
            blobs.write_all(self._file, encoded)
            return
        self._small += encoded
        if len(self._small) >= INLINE_LIMIT and blobs.HAS_FILES:
            self._file = blobs.new_file()
            blobs.write_all(self._file, self._small)
            self._small.clear()
