"""The bytes of files on their way to flashtrial's own server: ``/api/v1/blobs``, in chunks that go on where they were.

As a `Backend` it is sent the same records as the server itself, some time before or after; what is no file record it
passes. Per file: begin (the server says how much it has), chunks from there, commit. Which of it has happened is known
to the server alone, so that the death of either side costs a chunk at most. `docs/decisions/013` has the rest.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import urllib3

from flashtrial.protocol.records import Batch, DamagedFrame, Record
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
from flashtrial.tracking.backends.base import BatchReceipt, Outage, RefusedRecord
from flashtrial.tracking.backends.bodies import line_time_s, pieces_of
from flashtrial.tracking.backends.native import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from flashtrial.tracking.journal.routes import FindDestinations
from flashtrial.tracking.media.staging import set_aside, staged_path
from flashtrial.tracking.media.uploads import FILES, Releases, file_records
from flashtrial.tracking.settings.address import Address

BLOBS_PATH = "/api/v1/blobs"
CHUNK_BYTES = 4 * 1024 * 1024
LEAST_CHUNK_BYTES = 64 * 1024
SEND_BUDGET_S = 2.0
SLOWEST_HASH_BYTES_PER_S = 50e6
MAX_ANSWER_BYTES = 64 * 1024
TRIALS = 3
_MOST_REMEMBERED = 100_000
_NEVER_AS_IT_IS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


class _Refused(Exception):
    """Raised when a file will never be taken as it is; the message is the reason that is listed."""


class _Damaged(Exception):
    """Raised when the server says that what arrived is not what its hash says."""


@dataclass(frozen=True, slots=True)
class _State:
    """How far an upload has come, by the server's word."""

    received_bytes: int
    is_complete: bool
    chunk_bytes: int


class FileBackend:
    """Brings staged files to wherever `find_address` says the server is. See `flashtrial.tracking.backends.base`.

    A call takes about `SEND_BUDGET_S` and a chunk; a batch whose files have not all arrived by then is unfinished.
    """

    name = FILES

    def __init__(
        self, outbox: Path, find_address: FindAddress, find: FindDestinations, refuse: RefuseToken = keep_token
    ) -> None:
        self._outbox = outbox
        self._client = BlobClient(find_address, refuse)
        self._releases = Releases(outbox, find)
        # What is known already, so that an unfinished batch goes on where it was: by server and SHA-256, by record.
        self._arrived: set[tuple[str, str]] = set()
        self._refused: dict[tuple[str, int], str] = {}

    def send(self, batches: Sequence[Batch]) -> tuple[BatchReceipt, ...]:
        ends = time.monotonic() + SEND_BUDGET_S
        try:
            return tuple(self._send_one(batch, ends) for batch in batches)
        finally:
            self._releases.look()

    def close(self) -> None:
        self._releases.look()
        self._client.close()

    def _send_one(self, batch: Batch, ends: float) -> BatchReceipt:
        refused: list[RefusedRecord] = []
        try:
            for record in file_records(batch.run_id, batch.writer_id, batch.frames):
                if not self._bring_or_refuse(record, ends):
                    return BatchReceipt(is_unfinished=True)
                if reason := self._refused.get((record.writer_id, record.seq)):
                    refused.append(RefusedRecord(record.seq, reason))
        except DamagedFrame as error:
            return BatchReceipt(error=str(error))
        return BatchReceipt(refused=tuple(refused))

    def _bring_or_refuse(self, record: Record, ends: float) -> bool:
        key = record.writer_id, record.seq
        if key in self._refused:
            return True
        try:
            return self._bring(record, ends)
        except _Refused as error:
            self._refused[key] = str(error)
            return True

    def _bring(self, record: Record, ends: float) -> bool:
        """Whether the bytes are at the server now; False when the time is over. Raises `_Refused` and `Outage`."""
        path = staged_path(self._outbox, record.body)
        if path is None:  # a record that names bytes which came another way
            return True
        key = self._client.server, str(record.body["sha256"])
        if key not in self._arrived:
            try:
                if not _Upload(self._client, record, path).run(ends):
                    return False
            except _Refused:
                set_aside(path)
                raise
            if len(self._arrived) > _MOST_REMEMBERED:
                self._arrived.clear()
            self._arrived.add(key)
        self._releases.add(record, path)
        return True


class _Upload:
    """One file's way to the server."""

    def __init__(self, client: "BlobClient", record: Record, path: Path) -> None:
        self._client = client
        self._path = path
        self._run_id = record.run_id
        self._sha256 = str(record.body["sha256"])
        size = record.body.get("size")
        if not isinstance(size, int) or size < 0:
            raise _Refused("the record does not say how large the file is")
        self._size_bytes = size
        self._damages = 0

    def run(self, ends: float) -> bool:
        """Whether all has arrived; False when the time is over. At least one step is made."""
        state = self._begun()
        stuck = 0
        while not state.is_complete:
            before = state
            state = self._step(state)
            stuck = 0 if state.received_bytes > before.received_bytes else stuck + 1
            if stuck > TRIALS:
                raise Outage(f"the upload of {self._path} does not get on")
            if time.monotonic() > ends and not state.is_complete:
                return False
        return True

    def _begun(self) -> _State:
        return self._client.begin(self._sha256, self._size_bytes, self._run_id)

    def _step(self, state: _State) -> _State:
        """One chunk, or the end of it."""
        try:
            if state.received_bytes < self._size_bytes:
                return self._client.write(self._sha256, self._size_bytes, state, self._chunk(state)) or self._begun()
            return self._client.commit(self._sha256, self._size_bytes) or self._begun()
        except _Damaged:
            self._check_own_bytes()
            return self._begun()

    def _chunk(self, state: _State) -> bytes:
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(state.received_bytes)
                wanted = min(state.chunk_bytes, self._size_bytes - state.received_bytes)
                chunk = file.read(wanted)
        except FileNotFoundError:
            raise _Refused("its staged bytes are gone from the disk") from None
        except OSError as error:
            raise Outage(f"{self._path} cannot be read: {error.strerror}") from error
        if len(chunk) < wanted:
            raise _Refused("its staged bytes were damaged: the file is shorter than it was")
        return chunk

    def _check_own_bytes(self) -> None:
        """What arrived was not right: whose fault is it? Raises `_Refused` when it is this disk's."""
        self._damages += 1
        with self._path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self._sha256:
                raise _Refused("its staged bytes were damaged: they are not what they were")
        if self._damages >= TRIALS:
            raise Outage(f"the bytes of {self._path} are right here and arrive damaged")


class BlobClient:
    """The server's upload routes. Raises `Outage` for whatever says nothing about the file."""

    def __init__(self, find_address: FindAddress, refuse: RefuseToken = keep_token) -> None:
        self._find_address = find_address
        self._refuse = refuse
        self._chunk_bytes = CHUNK_BYTES
        self._pool = urllib3.PoolManager(num_pools=2, retries=False)

    @property
    def server(self) -> str:
        return self._find_address().url

    def begin(self, sha256: str, size_bytes: int, run_id: str) -> _State:
        """Raises `_Refused` for what the server says is too large, or no file."""
        body = json.dumps({"sha256": sha256, "size": size_bytes, "run_id": run_id}).encode()
        status, fields = self._ask("POST", BLOBS_PATH, body, {"Content-Type": "application/json"})
        if status in _NEVER_AS_IT_IS and _slug(fields):
            raise _Refused(f"HTTP {status}: {_message(fields)}")
        return self._state(status, fields)

    def write(self, sha256: str, size_bytes: int, state: _State, chunk: bytes) -> _State | None:
        """How far it is after `chunk`; None when the upload is to be begun again. The last chunk ends it.

        Raises `_Damaged` when what arrived is not what its hash says.
        """
        place = f"{BLOBS_PATH}/{sha256}?size={size_bytes}&offset={state.received_bytes}&commit=true"
        checksum = {"Upload-Checksum": f"crc32 {zlib.crc32(chunk):08x}", "Content-Type": "application/octet-stream"}
        status, fields = self._ask("PUT", place, chunk, checksum, hashed_bytes=size_bytes)
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(chunk) > LEAST_CHUNK_BYTES:
            self._chunk_bytes = max(len(chunk) // 2, LEAST_CHUNK_BYTES)  # something on the way takes no more at once
            return None
        return self._state_after(status, fields)

    def commit(self, sha256: str, size_bytes: int) -> _State | None:
        """As `write`, where all chunks are there already."""
        place = f"{BLOBS_PATH}/{sha256}/commit?size={size_bytes}"
        return self._state_after(*self._ask("POST", place, b"", {}, hashed_bytes=size_bytes))

    def close(self) -> None:
        self._pool.clear()

    def _ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str], hashed_bytes: int = 0
    ) -> tuple[int, object]:
        """Status and JSON of an answer. Raises `Outage` for answers that are no word of our server's.

        The server is given time to read `hashed_bytes` and sync them.
        """
        read_s = READ_TIMEOUT_S + hashed_bytes / SLOWEST_HASH_BYTES_PER_S + line_time_s(body)
        headers = {**headers, "Content-Length": str(len(body))}
        return with_a_good_token(
            self._find_address,
            self._refuse,
            lambda address: self._ask_at(address, method, path, body, headers=headers, read_s=read_s),
        )

    def _ask_at(
        self, address: Address, method: str, path: str, body: bytes, *, headers: dict[str, str], read_s: float
    ) -> tuple[int, object]:
        if address.token:
            headers = {**headers, "Authorization": f"Bearer {address.token}"}
        try:
            answer = self._pool.request(
                method,
                address.url + path,
                body=pieces_of(body),
                headers=headers,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_s),
            )
            text = whole_body(address.url, answer, MAX_ANSWER_BYTES)
        except urllib3.exceptions.HTTPError as error:
            raise Outage(f"{address.url} cannot be reached: {error}") from error
        fields = _parsed(text, address.token)
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise refused_token(address.url, answer.status, _words(fields))
        if answer.status >= 500 or answer.status == HTTPStatus.TOO_MANY_REQUESTS or not isinstance(fields, dict):
            if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                return answer.status, None
            wait_s = retry_after_s(answer.headers.get("Retry-After"))
            raise Outage(f"{address.url} answered HTTP {answer.status}: {_message(fields)}", wait_s)
        return answer.status, fields

    def _state_after(self, status: int, fields: object) -> _State | None:
        if status == HTTPStatus.UNPROCESSABLE_ENTITY and _slug(fields) == "blob_damaged":
            raise _Damaged
        return None if _is_out_of_step(status, fields) else self._state(status, fields)

    def _state(self, status: int, fields: object) -> _State:
        match fields:
            case {"received": int(received), "is_complete": bool(is_complete), "chunk": int(chunk)} if status == 200:
                return _State(received, is_complete, max(1, min(chunk, self._chunk_bytes)))
        raise Outage(f"the server takes no files: HTTP {status}: {_message(fields)}")


def _is_out_of_step(status: int, fields: object) -> bool:
    """Whether the server stands elsewhere than we thought: another process brings the same, or it lost something."""
    return _slug(fields) in ("out_of_place", "no_such_upload", "chunk_damaged") and status in (400, 404, 409)


def _parsed(text: bytes, token: str | None) -> object:
    """The answer, whose message repeats no token."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    words = _words(fields)
    return {**fields, "message": without_token(words, token)} if words else fields


def _slug(fields: object) -> str | None:
    return fields["error"] if isinstance(fields, dict) and isinstance(fields.get("error"), str) else None


def _words(fields: object) -> str | None:
    match fields:
        case {"message": str(message)}:
            return message
    return None


def _message(fields: object) -> str:
    words = _words(fields)
    return words[:500] if words else "not in our server's words: is another program on that port?"
