"""The child's side of output capture: descriptors 1 and 2 are the call's pipe while the call runs.

Between calls they are the worker's log, so that what a surviving thread prints late is told by its place and never
enters another call's answer. Capturing at descriptor level takes in prints, logging, C code and grandchildren alike,
in the order of their writes. Runs inside children: standard library only.
"""

import contextlib
import ctypes
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import Final

_STDOUT: Final = 1
_STDERR: Final = 2
_LINE_BUFFERED: Final = 1  # _IOLBF on Linux and macOS
_NOT_BUFFERED: Final = 2  # _IONBF
_LIBC = ctypes.CDLL(None)


class OutputCapture:
    """Owns descriptors 1 and 2 of this process and the Python streams on them."""

    def __init__(self) -> None:
        self._idle = os.dup(_STDERR)
        self._out, self._err = _stream(_STDOUT), _stream(_STDERR)

    def install(self) -> None:
        """Take over this process's output; called once, before any user code runs."""
        _unbuffer_c_streams()
        os.dup2(self._idle, _STDOUT)
        self._put_streams()
        logging.basicConfig(
            level=logging.INFO, handlers=[_CurrentStderrHandler()], format="%(levelname)s:%(name)s:%(message)s"
        )

    @contextlib.contextmanager
    def to(self, pipe: int) -> Iterator[None]:
        """Send everything that is written meanwhile to `pipe`, which is closed here.

        When the block ends, all that Python and C still held back has been written.
        """
        os.dup2(pipe, _STDOUT)
        os.dup2(pipe, _STDERR)
        os.close(pipe)
        self._put_streams()
        try:
            yield
        finally:
            self._flush()
            os.dup2(self._idle, _STDOUT)
            os.dup2(self._idle, _STDERR)

    def _put_streams(self) -> None:
        """User code may have replaced or closed the streams in an earlier call."""
        if not _is_usable(self._out):
            self._out = _stream(_STDOUT)
        if not _is_usable(self._err):
            self._err = _stream(_STDERR)
        sys.stdout, sys.stderr = self._out, self._err

    def _flush(self) -> None:
        for stream in (getattr(sys, "stdout", None), getattr(sys, "stderr", None), self._out, self._err):
            # a stream of the user's own may be anything and raise anything, and its failure is not the call's
            with contextlib.suppress(Exception):
                stream.flush()  # type: ignore[union-attr]
        _LIBC.fflush(None)


class _CurrentStderrHandler(logging.StreamHandler[io.TextIOBase]):
    """Writes to whatever `sys.stderr` is at that moment, as `logging.lastResort` does."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> io.TextIOBase:  # type: ignore[override]
        return sys.stderr  # type: ignore[return-value]


def _stream(descriptor: int) -> io.TextIOWrapper:
    """Line buffered like a terminal; what cannot be encoded is shown as an escape rather than raised."""
    buffer = io.BufferedWriter(_PipeEnd(descriptor, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class _PipeEnd(io.FileIO):
    """Not seekable, whatever the descriptor was when this was made; Python would remember."""

    def seekable(self) -> bool:
        return False


def _is_usable(stream: io.TextIOWrapper) -> bool:
    try:
        return not stream.closed
    except ValueError:  # its buffer was detached, as when code sets another encoding
        return False


def _unbuffer_c_streams() -> None:
    """C's stdout is fully buffered on a pipe; buffered by line it keeps its order among Python's writes."""
    for name, mode in (("stdout", _LINE_BUFFERED), ("stderr", _NOT_BUFFERED)):
        symbol = f"__{name}p" if sys.platform == "darwin" else name
        _LIBC.setvbuf(ctypes.c_void_p.in_dll(_LIBC, symbol), None, mode, 0)
