"""The parent's side of output capture: what one call wrote, bounded, and the pipe it comes through."""

import array
import contextlib
import fcntl
import logging
import os
import termios
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from flashtrial.process.head_and_tail import HeadAndTail

KEPT_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024

logger = logging.getLogger(__name__)


class RunConsole(Protocol):
    """Takes what a call prints to the console of the run that it touched last."""

    def touched(self, run_id: str, said: bytes) -> None:
        """From now on it goes to this run; `said` is what came before the first one."""
        ...

    def output(self, data: bytes) -> None:
        """Some bytes that the call wrote."""
        ...

    def secrets(self, texts: Sequence[str]) -> None:
        """What it may not show from now on."""
        ...


class OutputBuffer:
    """What a call's user sees: the code's output and the worker's own lines, in order, head and tail of it kept.

    `console` gets them too, once the call has touched a run.
    """

    def __init__(self) -> None:
        self.console: RunConsole | None = None
        self._kept = HeadAndTail(KEPT_BYTES)
        self._in_line = False
        self._is_of_run = False

    @property
    def streams(self) -> bool:
        """Values of generators are no output: the list of them all is in the answer."""
        return False

    def output(self, data: bytes) -> None:
        """Some bytes that the call wrote."""
        self.append(data)

    def yielded(self, value: bytes) -> None:
        """Not asked for."""

    def touched(self, run_id: str) -> None:
        """The call opened this run, or logged to it."""
        if self.console is not None:
            said = b"" if self._is_of_run else self.text().encode()
            self._is_of_run = True
            self.console.touched(run_id, said)

    def secrets(self, texts: Sequence[str]) -> None:
        """What its console may not show; the caller's answer is the caller's own."""
        if self.console is not None:
            self.console.secrets(texts)

    def append(self, data: bytes) -> None:
        self._kept.add(data)
        self._in_line = not data.endswith(b"\n")
        if self._is_of_run and self.console is not None:
            self.console.output(data)

    def append_line(self, line: str) -> None:
        """A line of the worker's own; it starts at the beginning of a line, whatever the user's code left open."""
        gap = "\n" if self._in_line else ""
        self.append(f"{gap}{line}\n".encode("utf-8", "backslashreplace"))

    def text(self) -> str:
        """What was kept, as text; bytes that are no UTF-8 are shown as escapes, and a cut is said."""
        return self._kept.text()


class OutputPipe:
    """The pipe of one call: the child writes, the parent drains. Owns both ends until they are handed on or closed."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(self.read_end, False)
        self.ended = False

    def close_write_end(self) -> None:
        """The child has its own by now; with ours closed the pipe ends when the last writer is gone.

        Safe to call twice.
        """
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def drain(self) -> None:
        """Take all that is there now; never waits. Sets `ended` when no writer is left.

        At most what the pipe can hold is taken: all that was written before, though somebody goes on writing.
        """
        room: int | None = None
        while not self.ended and (room is None or room > 0):
            try:
                data = os.read(self.read_end, _CHUNK_BYTES)
            except BlockingIOError:
                return
            if data:
                self._sink(data)
            room = (_capacity(self.read_end) if room is None else room) - len(data)
            self.ended = not data

    def take_one(self, before: Callable[[], None] | None = None) -> None:
        """Take one chunk; for an event loop, so that a flood of output does not starve everything else.

        `before` is called when it is known how much is there, and nothing is read: of a child that names a run when
        all has been read, and writes after it, whatever is said by then was said before the chunk was written.
        """
        size_bytes = _unread_bytes(self.read_end)
        if before is not None:
            before()
        if self.ended:
            return
        with contextlib.suppress(BlockingIOError):
            # nothing is there: it has ended, or somebody has taken it
            data = os.read(self.read_end, min(size_bytes or _CHUNK_BYTES, _CHUNK_BYTES))
            self.ended = not data
            if data:
                self._sink(data)

    def redirect(self, sink: Callable[[bytes], None]) -> None:
        """From now on what comes is late, and goes elsewhere."""
        self._sink = sink

    def close(self) -> None:
        """Safe to call twice."""
        for end in (self.read_end, self.write_end):
            if end >= 0:
                os.close(end)
        self.read_end = self.write_end = -1
        self.ended = True


def _unread_bytes(pipe: int) -> int:
    unread = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, unread)
    return unread[0]


def _capacity(pipe: int) -> int:
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) if hasattr(fcntl, "F_GETPIPE_SZ") else _CHUNK_BYTES


def log_late_output(call_id: str) -> Callable[[bytes], None]:
    """A sink for what a call's grandchildren write after its end: the worker's log, under the call's own id."""

    def sink(data: bytes) -> None:
        for line in data.decode("utf-8", "backslashreplace").splitlines():
            logger.info("late output of call %s: %s", call_id, line, extra={"action": "late_output"})

    return sink
