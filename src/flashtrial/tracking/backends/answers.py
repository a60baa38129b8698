"""What every backend asks of an answer over HTTP: its end, when to come again, whether a token is good."""

import email.utils
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias, TypeVar

import urllib3

from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.settings.address import Address

ANSWER_BUDGET_S = 60.0
READ_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 3600.0
HIDDEN = "***"

T = TypeVar("T")
FindAddress: TypeAlias = Callable[[], Address]
RefuseToken: TypeAlias = Callable[[Address], bool]  # whether there is another one to show


class TokenRefused(Outage):
    """Raised when the server does not take the token that it was shown."""


def refused_token(url: str, status: int, words: str | None) -> TokenRefused:
    """What it means that `url` answers 401, or 403 with its own `words` for why."""
    if status == HTTPStatus.FORBIDDEN and words:
        return TokenRefused(f"{url} answered HTTP {status}: {words}")
    return TokenRefused(f"{url} refuses the token (HTTP {status}); set FLASHTRIAL_TOKEN or call `flashtrial login`")


def keep_token(_address: Address) -> bool:
    """There is no other token to show."""
    return False


def with_a_good_token(find_address: FindAddress, refuse: RefuseToken, ask: Callable[[Address], T]) -> T:
    """What `ask` gives, asked again with the next token when one is refused. Raises what `ask` raises."""
    while True:
        address = find_address()
        try:
            return ask(address)
        except TokenRefused:
            if not refuse(address):
                raise


def without_token(text: str, token: str | None) -> str:
    """`text` of a server, or of something before it, that may repeat what it was shown."""
    return text.replace(token, HIDDEN) if token else text


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
    except (ValueError, OverflowError):  # no date, or one beyond what the machine's clock counts
        return None
    return at - (now() if now else email.utils.localtime().timestamp())
