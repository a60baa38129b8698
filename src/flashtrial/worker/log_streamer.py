"""The worker's own log lines about a request, put into that request's output, in order with the user's.

Each call runs in a context of its own; the handler finds the call by a context variable, so concurrent calls never see
each other's lines, and threads started by `asyncio.to_thread` inherit it. Work that several calls wait for has
`SharedLines`: each of the calls that follow them gets what was said so far, and then every line as it comes.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextvars import ContextVar, Token
from typing import Protocol

from flashtrial.process.output import OutputBuffer


class LineSink(Protocol):
    """Takes the worker's own lines about one call, or about what several calls wait for."""

    def append_line(self, line: str) -> None:
        """One line, without its end."""
        ...


_current: ContextVar[LineSink | None] = ContextVar("flashtrial_call_output", default=None)


class LogStreamer(logging.Handler):
    """Appends each record to the output of the call it was logged for; records of no call are left to others."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter("[flashtrial] %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        output = _current.get()
        if output is not None:
            output.append_line(self.format(record))


class SharedLines:
    """The lines of one piece of work, for every call that waits for it. Threads may log at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards both
        self._said = OutputBuffer()
        self._followers: list[LineSink] = []

    def append_line(self, line: str) -> None:
        """One line, without its end, for all who follow now or later."""
        with self._lock:
            self._said.append_line(line)
            for follower in self._followers:
                follower.append_line(line)

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Inside the block, the call of this context gets the lines: those of before at once, the others live."""
        follower = _current.get()
        if follower is None:
            yield
            return
        with self._lock:
            for line in self._said.text().splitlines():
                follower.append_line(line)
            self._followers.append(follower)
        try:
            yield
        finally:
            with self._lock:
                self._followers.remove(follower)


class streaming_to:  # noqa: N801 - a block, used as one; it stands around every call, and a generator costs twice
    """Whatever this package logs inside the block, in this task or threads it starts, also goes to `output`."""

    __slots__ = ("_output", "_token")

    def __init__(self, output: LineSink) -> None:
        self._output = output

    def __enter__(self) -> None:
        self._token: Token[LineSink | None] = _current.set(self._output)

    def __exit__(self, *_raised: object) -> None:
        _current.reset(self._token)
