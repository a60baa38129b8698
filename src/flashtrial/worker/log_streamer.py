"""The worker's own log lines about a request, put into that request's output, in order with the user's.

Each call runs in a context of its own; the handler finds the call by a context variable, so concurrent calls never see
each other's lines, and threads started by `asyncio.to_thread` inherit it.
"""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

from flashtrial.process.output import OutputBuffer

_current: ContextVar[OutputBuffer | None] = ContextVar("flashtrial_call_output", default=None)


class LogStreamer(logging.Handler):
    """Appends each record to the output of the call it was logged for; records of no call are left to others."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter("[flashtrial] %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        output = _current.get()
        if output is not None:
            output.append_line(self.format(record))


@contextlib.contextmanager
def streaming_to(output: OutputBuffer) -> Iterator[None]:
    """Whatever this package logs inside the block, in this task or threads it starts, also goes to `output`."""
    token = _current.set(output)
    try:
        yield
    finally:
        _current.reset(token)
