"""Results that are too large for an answer, at the tracking server: for workers without a network volume.

Goes by the routes of ``flashtrial.server.routes.blobs``: begin, chunks, commit. A result is named by its content, so
that bringing the same one twice costs a question.
"""

import hashlib
import json
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from flashtrial.tracking.settings.address import Address
from flashtrial.worker.loop.payload_limits import ResultPlace

if TYPE_CHECKING:
    import urllib3

BLOBS_PATH: Final = "/api/v1/blobs"
CHUNK_BYTES: Final = 4 * 1024 * 1024
MOST_ANSWER_BYTES: Final = 64 * 1024
ATTEMPTS: Final = 3
MOST_PAUSE_S: Final = 3
_TIMEOUT_S: Final = 60.0


class StoreUnusable(OSError):
    """Raised when the tracking server did not take a result; the message says why."""


class ServerResults:
    """Brings results to wherever `find_address` says the server is. For several threads; blocks for an upload."""

    name = "the tracking server"

    def __init__(self, find_address: Callable[[], Address]) -> None:
        self._find_address = find_address

    def put(self, job_id: str, content: bytes) -> ResultPlace:  # noqa: ARG002 - the content names itself
        """Store the result. Raises `StoreUnusable`."""
        import urllib3  # noqa: PLC0415 - few results are this large, and it costs the worker's start

        # who is busy may say when to come again, but a worker that waits for hours costs more than the result
        retry = urllib3.Retry(
            ATTEMPTS,
            read=1,
            redirect=False,
            backoff_factor=0.2,
            allowed_methods=None,
            raise_on_status=False,
            retry_after_max=MOST_PAUSE_S,
        )
        address = self._find_address()
        try:
            with urllib3.PoolManager(retries=retry, timeout=_TIMEOUT_S) as pool:
                upload = _Upload(pool, address, content)
                for _ in range(2 * ATTEMPTS + len(content) // CHUNK_BYTES):
                    if upload.step():
                        return {"url": upload.url, "bytes": len(content), "sha256": upload.sha256}
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnusable(f"{address.url} cannot be reached: {error}") from error
        raise StoreUnusable(f"the upload to {address.url} does not get on")


class _Upload:
    """One result on its way; the server says how far it is."""

    def __init__(self, pool: "urllib3.PoolManager", address: Address, content: bytes) -> None:
        self._pool = pool
        self._address = address
        self._content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.url = f"{address.url}{BLOBS_PATH}/{self.sha256}"
        self._state = self._begun()

    def step(self) -> bool:
        """Bring a chunk, or end the upload; whether the server has it all."""
        received, size = self._state["received"], len(self._content)
        if not self._state["is_complete"] and received < size:
            chunk = self._content[received : received + min(CHUNK_BYTES, self._state["chunk"])]
            place = f"{self.url}?{urlencode({'size': size, 'offset': received})}"
            self._state = self._ask("PUT", place, chunk, {"Upload-Checksum": f"crc32 {zlib.crc32(chunk):08x}"})
        elif not self._state["is_complete"]:
            self._state = self._ask("POST", f"{self.url}/commit?{urlencode({'size': size})}", b"", {})
        return bool(self._state["is_complete"])

    def _begun(self) -> dict[str, Any]:
        begin = json.dumps({"sha256": self.sha256, "size": len(self._content)}).encode()
        headers = {"Content-Type": "application/json"}
        return self._ask("POST", f"{self._address.url}{BLOBS_PATH}", begin, headers)

    def _ask(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        if self._address.token:
            headers = {**headers, "Authorization": f"Bearer {self._address.token}"}
        # a token is not carried to where somebody points
        answer = self._pool.request(method, url, body=body, headers=headers, redirect=False)
        try:
            fields = json.loads(answer.data[:MOST_ANSWER_BYTES])
        except ValueError:
            fields = None
        match fields:
            case {"received": int(), "is_complete": bool(), "chunk": int(chunk)} if answer.status == 200 and chunk > 0:
                return dict(fields)
            case {"error": "out_of_place" | "no_such_upload" | "chunk_damaged"}:
                return self._begun()  # the server stands elsewhere than we thought, and says where
            case {"message": str(message)}:
                raise StoreUnusable(f"{self._address.url} answered HTTP {answer.status}: {message[:500]}")
        raise StoreUnusable(f"{self._address.url} answered HTTP {answer.status}, not in our server's words")
