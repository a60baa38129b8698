"""The child's side of output capture: descriptors 1 and 2 are the call's pipe while the call runs.

Between calls they are the worker's log, so that what a surviving thread prints late is told by its place and never
enters another call's answer. Capturing at descriptor level takes in prints, logging, C code and grandchildren alike,
in the order of their writes. Runs inside children: standard library only.
"""

import array
import contextlib
import ctypes
import fcntl
import io
import logging
import os
import sys
import termios
import time
from typing import Final

from flashtrial.protocol.child import ProtocolError

_STDOUT: Final = 1
_STDERR: Final = 2
_LINE_BUFFERED: Final = 1  # _IOLBF on Linux and macOS
_NOT_BUFFERED: Final = 2  # _IONBF
_LOOK_S: Final = 0.001
_LIBC = ctypes.CDLL(None)


class OutputCapture:
    """Owns descriptors 1 and 2 of this process and the Python streams on them."""

    def __init__(self) -> None:
        self._idle = os.dup(_STDERR)
        self._pipe: int | None = None
        self._out, self._err = _stream(_STDOUT), _stream(_STDERR)

    def install(self) -> None:
        """Take over this process's output; called once, before any user code runs."""
        _unbuffer_c_streams()
        os.dup2(self._idle, _STDOUT)
        self._put_streams()
        logging.basicConfig(
            level=logging.INFO, handlers=[_CurrentStderrHandler()], format="%(levelname)s:%(name)s:%(message)s"
        )

    def take_pipe(self, pipe: int) -> None:
        """The next call's output goes to `pipe`, which is this object's to close."""
        self.drop_pipe()
        self._pipe = pipe

    def drop_pipe(self) -> None:
        """Let go of the pipe, so that it ends when whoever else has it does. Safe to call twice."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def begin(self) -> None:
        """From now on everything that is written goes to the pipe that was taken. Raises `ProtocolError` for none."""
        if self._pipe is None:
            raise ProtocolError("a call without a pipe for its output")
        os.dup2(self._pipe, _STDOUT)
        os.dup2(self._pipe, _STDERR)
        self._put_streams()

    def end(self) -> None:
        """Write all that Python and C still hold back, and let go of descriptors 1 and 2."""
        self._flush()
        os.dup2(self._idle, _STDOUT)
        os.dup2(self._idle, _STDERR)

    def until_taken(self, patience_s: float) -> None:
        """Wait until the parent has read all that was written so far, but no longer than that; any thread may.

        Where others write all the time, or the platform does not tell, the rest comes later.
        """
        self._flush()
        deadline_s = time.monotonic() + patience_s
        while self._unread_bytes() and time.monotonic() < deadline_s:
            time.sleep(_LOOK_S)

    def _unread_bytes(self) -> int:
        unread = array.array("i", [0])
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._pipe, termios.FIONREAD, unread)
        return unread[0]

    def _put_streams(self) -> None:
        """User code may have replaced or closed the streams in an earlier call."""
        if not _is_usable(self._out):
            self._out = _stream(_STDOUT)
        if not _is_usable(self._err):
            self._err = _stream(_STDERR)
        sys.stdout, sys.stderr = self._out, self._err

    def _flush(self) -> None:
        out, err = getattr(sys, "stdout", None), getattr(sys, "stderr", None)
        for stream in (out, err) if out is self._out and err is self._err else (out, err, self._out, self._err):
            try:
                stream.flush()  # type: ignore[union-attr]
            except Exception:  # noqa: BLE001, S112 - a stream of the user's may raise anything, and it is not the call's end
                continue
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
