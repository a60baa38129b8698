"""flashtrial's own server as a destination: ``POST /api/v1/ingest`` over kept-alive connections.

Every answer is one of three things: receipts; a `Rejected` request (our server says that these bytes are no good, or a
proxy that they are too many); or an `Outage`, which is all the rest, other programs on the port and pages of proxies
included, since they say nothing about the records.
"""

import gzip
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import urllib3

from flashtrial.protocol.records import Batch, encode_batches
from flashtrial.tracking.backends.answers import (
    FindAddress,
    RefuseToken,
    keep_token,
    refused_token,
    retry_after_s,
    whole_body,
    with_a_good_token,
    without_token,
)
from flashtrial.tracking.backends.base import BatchReceipt, Outage, RefusedRecord, Rejected, WriterNotice
from flashtrial.tracking.backends.bodies import line_time_s, pieces_of
from flashtrial.tracking.settings.address import Address, address_from, is_loopback

INGEST_PATH = "/api/v1/ingest"
HEARTBEAT_PATH = "/api/v1/heartbeat"
CONTENT_TYPE = "application/msgpack"
# Level 1 leaves 0.2 (lines) to 0.4 (metrics) of a body at some 120 MB/s: worth it on whatever is slower than that, as
# networks are and loopback is not.
PACKING_LEVEL = 1
LEAST_PACKED_BYTES = 4096
SENT_MS = "Flashtrial-Sent-Ms"  # our clock when a request left, by which a server tells how far clocks differ

MOST_REQUESTS = 4  # under way at once
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
T = TypeVar("T")

MAX_ANSWER_BYTES = 16 * 1024 * 1024

_NEVER_AS_IT_IS = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
_NO_SUCH_ROUTE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


def open_backend(home: Path, environment: Mapping[str, str]) -> "NativeBackend":
    """The backend for the server that `environment` and the running instance's file name."""
    return NativeBackend(lambda: address_from(home, environment))


class NativeBackend:
    """Sends to wherever `find_address` says the server is, asked anew for each request.

    A token that is refused is told to `refuse`, which says whether there is another one to show.
    """

    name = "native"
    most_requests = MOST_REQUESTS

    def __init__(
        self,
        find_address: FindAddress,
        is_near: Callable[[str], bool] = is_loopback,
        refuse: RefuseToken = keep_token,
    ) -> None:
        """What goes to an address that `is_near` is not compressed."""
        self._find_address = find_address
        self._is_near = is_near
        self._refuse = refuse
        self._unpacked: set[str] = set()  # addresses that take nothing compressed
        self._pool = urllib3.PoolManager(num_pools=2, maxsize=MOST_REQUESTS, retries=False)

    def send(self, batches: Sequence[Batch]) -> tuple[BatchReceipt, ...]:
        body = encode_batches(list(batches))
        return self._with_a_good_token(lambda address: self._send_to(address, body, len(batches)))

    def _send_to(self, address: Address, body: bytes, batches: int) -> tuple[BatchReceipt, ...]:
        read = partial(read_answer, address, batches)
        if len(body) >= LEAST_PACKED_BYTES and address.url not in self._unpacked and not self._is_near(address.url):
            packed = gzip.compress(body, PACKING_LEVEL, mtime=0)
            try:
                return self._post(
                    address, INGEST_PATH, CONTENT_TYPE, packed, partial(_unless_unpacked, read), encoding="gzip"
                )
            except PackingRefused:
                self._unpacked.add(address.url)
        return self._post(address, INGEST_PATH, CONTENT_TYPE, body, read)

    def beat(self, notices: Sequence[WriterNotice], every_s: float) -> bool:
        """See `PulseBackend`. False by a server that has no such route."""
        body = {"host": os.uname().nodename, "every_s": every_s, "writers": [_notice_fields(each) for each in notices]}
        encoded = json.dumps(body).encode()
        return self._with_a_good_token(
            lambda address: self._post(
                address, HEARTBEAT_PATH, "application/json", encoded, partial(_read_pulse, address)
            )
        )

    def _with_a_good_token(self, ask: Callable[[Address], T]) -> T:
        return with_a_good_token(self._find_address, self._refuse, ask)

    def _post(
        self,
        address: Address,
        path: str,
        content_type: str,
        body: bytes,
        read: Callable[[urllib3.BaseHTTPResponse], T],
        *,
        encoding: str = "identity",
    ) -> T:
        """What `read` makes of the answer. Raises `Outage`, and what `read` raises."""
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            SENT_MS: str(time.time_ns() // 1_000_000),
        }
        if encoding != "identity":
            headers["Content-Encoding"] = encoding
        if address.token:
            headers["Authorization"] = f"Bearer {address.token}"
        try:
            answer = self._pool.request(
                "POST",
                address.url + path,
                body=pieces_of(body),
                headers=headers,
                redirect=False,  # a token is not carried to where somebody points
                preload_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S + line_time_s(body)),
            )
            return read(answer)
        except urllib3.exceptions.HTTPError as error:
            raise Outage(f"{address.url} cannot be reached: {error}") from error

    def close(self) -> None:
        self._pool.clear()


class PackingRefused(Exception):
    """Raised when a server, or something before it, takes no compressed body."""


def _unless_unpacked(read: Callable[[urllib3.BaseHTTPResponse], T], answer: urllib3.BaseHTTPResponse) -> T:
    """What `read` makes of the answer to a compressed request. Raises `PackingRefused`, and what `read` raises."""
    if answer.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        answer.close()
        raise PackingRefused
    return read(answer)


def read_answer(address: Address, batches: int, answer: urllib3.BaseHTTPResponse) -> tuple[BatchReceipt, ...]:
    """The receipts in a server's answer to `batches` batches. Raises `Outage`, `Rejected`, or urllib3's errors."""
    fields = _json(whole_body(address.url, answer, MAX_ANSWER_BYTES))
    if answer.status == HTTPStatus.OK:
        return _receipts(address, batches, fields)
    message = _message(address, fields)
    if answer.status in _NEVER_AS_IT_IS and message is not None:
        raise Rejected(f"HTTP {answer.status}: {message}")
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise Rejected(f"HTTP {answer.status} from something before {address.url}", is_certain=False)
    raise _outage(address.url, answer, message)


def _read_pulse(address: Address, answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether the server heard of the writers; False when it knows no such thing. Raises `Outage`."""
    fields = _json(whole_body(address.url, answer, MAX_ANSWER_BYTES))
    if answer.status in _NO_SUCH_ROUTE:
        return False
    if answer.status == HTTPStatus.OK and isinstance(fields, dict):
        return True
    raise _outage(address.url, answer, _message(address, fields))


def _outage(url: str, answer: urllib3.BaseHTTPResponse, message: str | None) -> Outage:
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return refused_token(url, answer.status, message)
    retry_s = retry_after_s(answer.headers.get("Retry-After"))
    return Outage(f"{url} answered HTTP {answer.status}{_what_for(answer, message)}", retry_s)


def _what_for(answer: urllib3.BaseHTTPResponse, message: str | None) -> str:
    if message:
        return f": {message}"
    there = answer.headers.get("Location", "").partition("?")[0][:200]
    return f": it points to {there}; if that is the server, set FLASHTRIAL_URL" if there else ""


def _notice_fields(notice: WriterNotice) -> dict[str, object]:
    """See docs/decisions/002."""
    return {
        "run_id": notice.run_id,
        "writer_id": notice.writer_id,
        "role": notice.role.value,
        "state": "alive" if notice.is_alive else "gone",
        "last_seq": notice.last_seq,
        "ended": notice.ended,
        "reason": notice.reason,
        "facts": dict(notice.facts or {}),
    }


def _receipts(address: Address, batches: int, fields: object) -> tuple[BatchReceipt, ...]:
    match fields:
        case {"results": list(results)} if len(results) == batches:
            return tuple(_receipt(address, result) for result in results)
    raise Outage(f"{address.url} answered something that is no receipt: is another program on that port?")


def _receipt(address: Address, result: object) -> BatchReceipt:
    match result:
        case {"error": str(error)}:
            return BatchReceipt(error=without_token(error, address.token))
        case {"stored": int(stored), "duplicates": int(duplicates), "refused": list(refused)}:
            return BatchReceipt(stored, duplicates, tuple(_refused(address, item) for item in refused))
    raise Outage(f"{address.url} answered a receipt that cannot be read")


def _refused(address: Address, item: object) -> RefusedRecord:
    match item:
        case {"seq": int(seq), "reason": str(reason)}:
            return RefusedRecord(seq, without_token(reason, address.token))
    raise Outage(f"{address.url} refuses a record without naming it")


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(address: Address, fields: object) -> str | None:
    """The words of an error in our server's own shape; None for whatever else."""
    match fields:
        case {"error": str(), "message": str(message)}:
            return without_token(message, address.token)[:500]
    return None
