"""What every backend asks of an answer over HTTP: that it comes to an end, and when to come again."""

import email.utils
import time
from collections.abc import Callable

import urllib3

from flashtrial.tracking.backends.base import Outage

ANSWER_BUDGET_S = 60.0
READ_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 3600.0


def whole_body(url: str, answer: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes:
    """The body of `answer`, of at most `most_bytes`, within a minute; a connection that is not read out is closed.

    Raises `Outage` for one without end, which names `url`, and urllib3's errors.
    """
    body = bytearray()
    deadline = time.monotonic() + ANSWER_BUDGET_S
    try:
        while chunk := answer.read1(READ_BYTES):
            body += chunk
            if len(body) > most_bytes or time.monotonic() > deadline:
                raise Outage(f"{url} answers without coming to an end: is another program on that port?")
    except BaseException:
        answer.close()
        raise
    answer.release_conn()
    return bytes(body)


def retry_after_s(header: str | None, now: Callable[[], float] | None = None) -> float | None:
    """Seconds to wait by a ``Retry-After`` header, a number or an HTTP date (RFC 9110, 10.2.3); None when unreadable.

    At most an hour. `now` gives seconds since the epoch, by default the machine's clock.
    """
    if not header:
        return None
    seconds = float(header) if header.strip().isdecimal() else _seconds_until(header, now)
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _seconds_until(date: str, now: Callable[[], float] | None) -> float | None:
    try:
        at = email.utils.parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    return at - (now() if now else email.utils.localtime().timestamp())
