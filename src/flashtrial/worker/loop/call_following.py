"""Tells the platform of a call while it runs: its last output about once a second, its yielded values one by one.

::

    child ── output, values ──▶ LiveOutput ──▶ here ──▶ JobReporter
                                             (two tasks for each call, gone before its answer is sent)
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from flashtrial.worker.loop.job_reporter import Delivery
from flashtrial.worker.loop.live_output import LiveOutput

PROGRESS_EVERY_S: Final = 1.0
LARGEST_CHUNK_BYTES: Final = 1_000_000
MOST_WAITING_BYTES: Final = 64 * 1024 * 1024

logger = logging.getLogger(__name__)


class Reporter(Protocol):
    """As much of `JobReporter` as is needed here."""

    async def progress(self, job_id: str, output: dict[str, Any], /) -> Delivery: ...

    async def chunk(self, job_id: str, body: bytes, /) -> Delivery: ...


@contextlib.asynccontextmanager
async def following(reporter: Reporter, job_id: str, *, every_s: float = PROGRESS_EVERY_S) -> AsyncIterator[LiveOutput]:
    """The output of one call, reported on while the block runs.

    When the block ends well, all chunks have been posted (or given up) and no report is on its way. When it is
    cancelled, nothing more is posted.
    """
    stream = _Stream(reporter, job_id)
    live = LiveOutput(stream.put)
    over = asyncio.Event()
    progress = asyncio.create_task(_report_progress(reporter, job_id, live, over, every_s))
    posting = asyncio.create_task(stream.post_all())
    try:
        yield live
        over.set()
        stream.end()
        await asyncio.gather(progress, posting)
    finally:
        progress.cancel()
        posting.cancel()
        await asyncio.gather(progress, posting, return_exceptions=True)


def progress_of(live: LiveOutput) -> dict[str, Any]:
    """What a progress update says: the end of the output, and how much there has been, so that readers can join."""
    return {"stdout": live.tail(), "stdout_bytes": live.total_bytes}


async def _report_progress(
    reporter: Reporter, job_id: str, live: LiveOutput, over: asyncio.Event, every_s: float
) -> None:
    told_bytes = 0
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await over.wait()
        if not over.is_set() and live.total_bytes != told_bytes:
            told_bytes = live.total_bytes
            await reporter.progress(job_id, progress_of(live))


class _Stream:
    """The yielded values of one call on their way, in order. What the platform does not take ends the stream."""

    def __init__(self, reporter: Reporter, job_id: str) -> None:
        self._reporter = reporter
        self._job_id = job_id
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._has_ended = False
        self._is_broken = False

    def put(self, value: bytes) -> None:
        """Take in a value, JSON already."""
        if self._is_broken:
            return
        if len(value) > LARGEST_CHUNK_BYTES:
            self._say("a value of %d bytes is too large for a chunk of the stream and is left out of it", len(value))
        elif self._waiting_bytes > MOST_WAITING_BYTES:
            self._break("the platform takes chunks too slowly")
        else:
            self._waiting.append(value)
            self._waiting_bytes += len(value)
            self._changed.set()

    def end(self) -> None:
        """No value comes any more."""
        self._has_ended = True
        self._changed.set()

    async def post_all(self) -> None:
        """Post each value as it comes, until the end."""
        while not (self._has_ended and not self._waiting):
            if not self._waiting:
                await self._changed.wait()
                self._changed.clear()
                continue
            value = self._waiting.popleft()
            self._waiting_bytes -= len(value)
            delivery = await self._reporter.chunk(self._job_id, b'{"output":' + value + b"}")
            if delivery is not Delivery.TAKEN:
                self._break(f"a chunk was not taken ({delivery})")

    def _break(self, why: str) -> None:
        self._is_broken = True
        self._waiting.clear()
        self._say("the stream ends here: %s; all values are in the answer", why)

    def _say(self, message: str, *details: object) -> None:
        logger.warning("job %s: " + message, self._job_id, *details, extra={"action": "stream"})  # noqa: G003
