"""flashtrial's own server as a destination: ``POST /api/v1/ingest`` over kept-alive connections.

Every answer is one of three things: receipts; a `Rejected` request (our server says that these bytes are no good); or
an `Outage`, which is all the rest, other programs on the port and pages of proxies included, since they say nothing
about the records.
"""

import email.utils
import json
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
MAX_RETRY_AFTER_S = 3600.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024

_NEVER_AS_IT_IS = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
_WHO_ARE_YOU = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


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
            )
        except urllib3.exceptions.HTTPError as error:
            raise Outage(f"{address.url} cannot be reached: {error}") from error
        return read_answer(address.url, len(batches), answer)

    def close(self) -> None:
        self._pool.clear()


def read_answer(url: str, batches: int, answer: urllib3.BaseHTTPResponse) -> tuple[BatchReceipt, ...]:
    """The receipts in a server's answer to `batches` batches. Raises `Outage` or `Rejected`."""
    fields = _json(answer.data or b"")  # None when there is no body
    if answer.status == HTTPStatus.OK:
        return _receipts(url, batches, fields)
    if answer.status in _WHO_ARE_YOU:
        raise Outage(f"{url} refuses the token (HTTP {answer.status}); set FLASHTRIAL_TOKEN")
    if answer.status in _NEVER_AS_IT_IS and isinstance(fields, dict):
        raise Rejected(f"HTTP {answer.status}: {_reason(fields)}")
    raise Outage(f"{url} answered HTTP {answer.status}", retry_after_s(answer.headers.get("Retry-After")))


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
        return json.loads(body[:MAX_ANSWER_BYTES])
    except (ValueError, RecursionError):
        return None


def _reason(fields: dict[str, object]) -> str:
    return str(fields.get("error") or fields.get("detail") or fields)[:500]
