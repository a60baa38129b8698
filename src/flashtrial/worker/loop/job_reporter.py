"""What a worker tells the platform of its jobs: answers, how far they have come, chunks of their streams.

Speaks the platform's job protocol as the SDK does (`runpod.serverless.modules.rp_http`), over the SDK's own session;
unlike the SDK it knows whether the platform has an answer, and does not give up on one after three attempts.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from flashtrial.core import env
from flashtrial.core.retry import full_jitter_s
from flashtrial.worker.loop.drain import Drain

ANSWER_PATIENCE_S: Final = 600.0
"""How long an answer is offered to a platform that does not take it."""

CHUNK_PATIENCE_S: Final = 30.0
PROGRESS_PATIENCE_S: Final = 5.0
_ATTEMPT_S: Final = 60.0
_LEAST_ATTEMPT_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 10.0
_ADDRESSES: Final = ("RUNPOD_WEBHOOK_POST_OUTPUT", "RUNPOD_WEBHOOK_POST_STREAM")
_TRY_AGAIN: Final = frozenset({408, 425, 429})

# What the SDK sends. The content type is not true, but it is the one that the platform knows.
_HEADERS: Final = {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded"}

logger = logging.getLogger(__name__)


class Delivery(StrEnum):
    """What became of a report."""

    TAKEN = "taken"
    TOO_LARGE = "too_large"  # or otherwise not to the platform's taste: the same again will not do
    REFUSED = "refused"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class ReportUrls:
    """Where reports go; ``$ID`` stands for the job."""

    output: str
    stream: str

    @classmethod
    def from_environment(cls, worker_id: str) -> "ReportUrls":
        """The platform's addresses, as `worker_id` uses them."""
        addresses = (env.get(name).replace("$RUNPOD_POD_ID", worker_id) for name in _ADDRESSES)
        return cls(*addresses)

    def of(self, template: str, job_id: str, *, is_stream: bool = False) -> str:
        """The address for one job."""
        return f"{template.replace('$ID', quote(job_id, safe=''))}&isStream={'true' if is_stream else 'false'}"


class JobReporter:
    """Posts reports. One event loop; nothing is ever raised but cancellation: what became of a report is returned."""

    def __init__(self, session: aiohttp.ClientSession, urls: ReportUrls, drain: Drain) -> None:
        self._session = session
        self._urls = urls
        self._drain = drain

    async def answer(self, job_id: str, body: bytes) -> Delivery:
        """Offer an answer until the platform has it, refuses it, or the time is up (the drain's, where one began)."""
        url = self._urls.of(self._urls.output, job_id)
        delivery = await self._insist(url, job_id, body, ANSWER_PATIENCE_S)
        if delivery is not Delivery.TAKEN:
            logger.error("the answer of job %s: %s", job_id, delivery, extra={"action": "answer_not_taken"})
        return delivery

    async def progress(self, job_id: str, output: Mapping[str, Any]) -> Delivery:
        """Say once how far the job is; nobody minds if it does not arrive."""
        body = encoded({"status": "IN_PROGRESS", "output": dict(output)})
        url = self._urls.of(self._urls.output, job_id)
        return await self._attempt(url, job_id, body, PROGRESS_PATIENCE_S) or Delivery.GIVEN_UP

    async def chunk(self, job_id: str, body: bytes) -> Delivery:
        """Add ``{"output": …}`` to the job's stream."""
        url = self._urls.of(self._urls.stream, job_id)
        patience_s = min(CHUNK_PATIENCE_S, self._drain.left_s() / 3)  # the answer has to follow
        return await self._insist(url, job_id, body, patience_s)

    async def _insist(self, url: str, job_id: str, body: bytes, patience_s: float) -> Delivery:
        give_up_s = asyncio.get_running_loop().time() + patience_s
        attempt = 0
        while True:
            attempt_s = min(_ATTEMPT_S, max(self._drain.left_s(give_up_s), _LEAST_ATTEMPT_S))
            if delivery := await self._attempt(url, job_id, body, attempt_s):
                return delivery
            pause_s = full_jitter_s(attempt, cap_s=_LONGEST_PAUSE_S)
            if self._drain.begun.is_set():
                pause_s = min(pause_s, _LEAST_ATTEMPT_S)
            if pause_s >= self._drain.left_s(give_up_s):
                return Delivery.GIVEN_UP
            await self._drain.sleep(pause_s)
            attempt += 1

    async def _attempt(self, url: str, job_id: str, body: bytes, timeout_s: float) -> Delivery | None:
        """What the platform said; None when it may say something else the next time."""
        headers = {**_HEADERS, "X-Request-ID": job_id}
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.post(url, data=body, headers=headers, timeout=timeout) as response:
                await response.read()
                return _meaning(response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.debug("reporting on job %s failed: %r", job_id, error, extra={"action": "report_failed"})
            return None


def _meaning(status: int) -> Delivery | None:
    if status < 400:
        return Delivery.TAKEN
    if status >= 500 or status in _TRY_AGAIN:
        return None
    return Delivery.TOO_LARGE if status in (400, 413) else Delivery.REFUSED


def encoded(value: object) -> bytes:
    """The JSON of `value` as the SDK sends it; half a surrogate pair, which UTF-8 cannot hold, as an escape."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()
