"""Descriptors 1 and 2 of this process, led through channels that another process reads; and given back.

A channel is a pipe, or a pseudo-terminal in raw mode where the original is a terminal, so that programs still find one
and bytes pass unchanged. Where both descriptors lead to the same place they share a channel: with two, the order of
what is written to them would be lost. Runs in user processes: standard library only.
"""

import contextlib
import fcntl
import os
import select
import stat
import struct
import sys
import termios
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

STDOUT: Final = 1
STDERR: Final = 2
PIPE_BYTES: Final = 1024 * 1024
_WINDOW: Final = struct.Struct("HHHH")

_Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Channel:
    """What is written to `write_end` comes out at `read_end`, and belongs to `original`. Owns the three of them."""

    descriptors: tuple[int, ...]
    stream: str
    original: int
    read_end: int
    write_end: int
    place: _Place

    def lead(self) -> None:
        """Let the descriptors lead here; called once."""
        for descriptor in self.descriptors:
            os.dup2(self.write_end, descriptor)
        os.close(self.write_end)

    def give_back(self) -> None:
        """Lead the descriptors to the original again, those that nobody has led elsewhere meanwhile."""
        for descriptor in self.descriptors:
            if _place(descriptor) == self.place:
                os.dup2(self.original, descriptor)

    def close(self) -> None:
        """Let go of what is owned here; the descriptors stay where they lead."""
        os.close(self.read_end)
        os.close(self.original)


def open_channels() -> list[Channel]:
    """Channels for this process's standard output and error, as far as those are open; nothing leads there yet."""
    return [_channel(*group) for group in _groups()]


def flush() -> None:
    """Write what Python and C hold back. Whatever a stream of the user's own raises is not ours."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if "ctypes" in sys.modules:  # as it is in all programs that have C code worth the name
        _flush_c_output()


def copy_window_size(source: int, target: int) -> None:
    """Make terminal `target` as wide and high as `source`; nothing for what is no terminal."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(_WINDOW.size)))


def write_all(descriptor: int, data: bytes) -> bool:
    """Write `data`, waiting as long as it takes; whether the other end still takes it."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody made it so; it is not ours to change back
            select.select([], [descriptor], [])
        except OSError:
            return False
    return True


def _groups() -> Iterator[tuple[tuple[int, ...], str]]:
    """Which descriptors share a channel, and the name of its stream."""
    out, err = _place(STDOUT), _place(STDERR)
    if out is not None and out == err and not _is_nowhere(STDOUT):
        yield (STDOUT, STDERR), "stdout"
        return
    if out is not None:
        yield (STDOUT,), "stdout"
    if err is not None:
        yield (STDERR,), "stderr"


def _channel(descriptors: tuple[int, ...], stream: str) -> Channel:
    original = os.dup(descriptors[0])
    read_end, write_end = _terminal(original) if os.isatty(original) else _pipe()
    place = _place(write_end)
    assert place is not None
    return Channel(descriptors, stream, original, read_end, write_end, place)


def _pipe() -> tuple[int, int]:
    read_end, write_end = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # the user's share of memory for pipes is used up
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read_end, write_end


def _terminal(original: int) -> tuple[int, int]:
    """The real terminal turns \\n into \\r\\n; done here too, it would be done twice."""
    read_end, write_end = os.openpty()
    tty.setraw(write_end, termios.TCSANOW)
    copy_window_size(original, write_end)
    return read_end, write_end


def _place(descriptor: int) -> _Place | None:
    """What tells one open file, pipe or terminal from another; None for a closed descriptor."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_nowhere(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev  # noqa: PTH116


def _flush_c_output() -> None:
    """Of the two streams alone: to flush all would wait for a thread that reads from standard input."""
    import ctypes  # noqa: PLC0415 - loaded already, see `flush`

    libc = ctypes.CDLL(None)
    for name in ("stdout", "stderr"):
        symbol = f"__{name}p" if sys.platform == "darwin" else name
        with contextlib.suppress(ValueError):  # a C library that names them otherwise
            libc.fflush(ctypes.c_void_p.in_dll(libc, symbol))
