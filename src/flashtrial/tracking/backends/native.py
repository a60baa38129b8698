"""flashtrial's own server as a destination: ``POST /api/v1/ingest`` over kept-alive connections.

Every answer is one of three things: receipts; a `Rejected` request (our server says that these bytes are no good, or a
proxy that they are too many); or an `Outage`, which is all the rest, other programs on the port and pages of proxies
included, since they say nothing about the records.
"""

import email.utils
import json
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

import urllib3

from flashtrial.protocol.records import Batch, encode_batches
from flashtrial.tracking.address import Address
from flashtrial.tracking.backends.base import BatchReceipt, Outage, RefusedRecord, Rejected

INGEST_PATH = "/api/v1/ingest"
CONTENT_TYPE = "application/msgpack"

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
ANSWER_BUDGET_S = 60.0
READ_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 3600.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024

_NEVER_AS_IT_IS = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)


class NativeBackend:
    """Sends to wherever `find_address` says the server is, asked anew for each request."""

    name = "native"

    def __init__(self, find_address: Callable[[], Address]) -> None:
        self._find_address = find_address
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        self._pool = urllib3.PoolManager(num_pools=2, retries=False, timeout=timeout)

    def send(self, batches: Sequence[Batch]) -> tuple[BatchReceipt, ...]:
        address = self._find_address()
        headers = {"Content-Type": CONTENT_TYPE}
        if address.token:
            headers["Authorization"] = f"Bearer {address.token}"
        try:
            answer = self._pool.request(
                "POST",
                address.url + INGEST_PATH,
                body=encode_batches(list(batches)),
                headers=headers,
                redirect=False,  # a token is not carried to where somebody points
                preload_content=False,
            )
            return read_answer(address.url, len(batches), answer)
        except urllib3.exceptions.HTTPError as error:
            raise Outage(f"{address.url} cannot be reached: {error}") from error

    def close(self) -> None:
        self._pool.clear()


def read_answer(url: str, batches: int, answer: urllib3.BaseHTTPResponse) -> tuple[BatchReceipt, ...]:
    """The receipts in a server's answer to `batches` batches. Raises `Outage`, `Rejected`, or urllib3's errors."""
    fields = _json(_body(url, answer))
    if answer.status == HTTPStatus.OK:
        return _receipts(url, batches, fields)
    message = _message(fields)
    if answer.status in _NEVER_AS_IT_IS and message is not None:
        raise Rejected(f"HTTP {answer.status}: {message}")
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise Rejected(f"HTTP {answer.status} from something before {url}", is_certain=False)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise Outage(f"{url} refuses the token (HTTP {answer.status}); set FLASHTRIAL_TOKEN")
    retry_s = retry_after_s(answer.headers.get("Retry-After"))
    raise Outage(f"{url} answered HTTP {answer.status}" + (f": {message}" if message else ""), retry_s)


def _body(url: str, answer: urllib3.BaseHTTPResponse) -> bytes:
    """The whole body, within limits of size and time. A connection that is not read to its end is closed."""
    body = bytearray()
    deadline = time.monotonic() + ANSWER_BUDGET_S
    try:
        while chunk := answer.read1(READ_BYTES):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
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


def _receipts(url: str, batches: int, fields: object) -> tuple[BatchReceipt, ...]:
    match fields:
        case {"results": list(results)} if len(results) == batches:
            return tuple(_receipt(url, result) for result in results)
    raise Outage(f"{url} answered something that is no receipt: is another program on that port?")


def _receipt(url: str, result: object) -> BatchReceipt:
    match result:
        case {"error": str(error)}:
            return BatchReceipt(error=error)
        case {"stored": int(stored), "duplicates": int(duplicates), "refused": list(refused)}:
            return BatchReceipt(stored, duplicates, tuple(_refused(url, item) for item in refused))
    raise Outage(f"{url} answered a receipt that cannot be read")


def _refused(url: str, item: object) -> RefusedRecord:
    match item:
        case {"seq": int(seq), "reason": str(reason)}:
            return RefusedRecord(seq, reason)
    raise Outage(f"{url} refuses a record without naming it")


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(fields: object) -> str | None:
    """The words of an error in our server's own shape; None for whatever else."""
    match fields:
        case {"error": str(), "message": str(message)}:
            return message[:500]
    return None
