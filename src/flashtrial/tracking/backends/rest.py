"""JSON over HTTP to somebody else's server, every answer told apart: a value, a refusal for good, or an outage."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3

from flashtrial.core.errors import FlashtrialError
from flashtrial.tracking.backends.answers import retry_after_s, whole_body, without_token
from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.settings.address import without_users

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 300.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_FOR_GOOD = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


class RefusedRequest(FlashtrialError):
    """Raised when the server will never take this request; `status` and `code` are its own words for why."""

    def __init__(self, reason: str, status: int, code: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


class Rest:
    """Requests to one server, over connections that are kept. Used by one thread.

    Each method raises `Outage` when nothing can be said about the request, and `RefusedRequest`.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)
        self._token = headers.get("Authorization", "").rpartition(" ")[2]
        self._pool = urllib3.PoolManager(num_pools=4, retries=False)

    def post(self, url: str, body: object, headers: Mapping[str, str] | None = None) -> Any:
        """The answer to `body` as JSON, with bare NaN where it has any."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._request("POST", url, content, {"Content-Type": "application/json", **(headers or {})})

    def get(self, url: str, query: Mapping[str, str]) -> Any:
        """The answer to a question."""
        return self._request("GET", url, None, {}, fields=query)

    def put_file(self, url: str, path: Path, content_type: str, *, with_token: bool = True) -> None:
        """Send the bytes of a file. Raises FileNotFoundError when it is gone."""
        with path.open("rb") as file:
            size = path.stat().st_size
            headers = {"Content-Type": content_type, "Content-Length": str(size)}
            self._request("PUT", url, file if size else b"", headers, with_token=with_token, read_s=UPLOAD_TIMEOUT_S)

    def close(self) -> None:
        """Let go of connections. Calling twice is safe."""
        self._pool.clear()

    def _request(
        self,
        method: str,
        url: str,
        body: Any,
        headers: Mapping[str, str],
        *,
        fields: Mapping[str, str] | None = None,
        with_token: bool = True,
        read_s: float = READ_TIMEOUT_S,
    ) -> Any:
        try:
            answer = self._pool.request(
                method,
                url,
                body=body,
                fields=fields,
                headers={**(self._headers if with_token else {}), **headers},
                redirect=False,  # a token is not carried to where somebody points
                preload_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_s),
            )
            content = whole_body(_shown(url), answer, MAX_ANSWER_BYTES)
        except urllib3.exceptions.HTTPError as error:
            raise Outage(f"{_shown(url)} cannot be reached: {error}") from error
        return _value(url, answer, content, self._token)


def _value(url: str, answer: urllib3.BaseHTTPResponse, content: bytes, token: str) -> Any:
    fields = _json(content)
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return fields
    reason, code = _words(fields)
    reason = without_token(reason, token)
    told = f"{_shown(url)} answered HTTP {answer.status}" + (f": {reason}" if reason else "")
    # Only a server's own words judge: a page of something on the way says nothing of the records.
    if answer.status in _FOR_GOOD and reason:
        raise RefusedRequest(told, answer.status, code)
    raise Outage(told, retry_after_s(answer.headers.get("Retry-After")))


def _words(fields: object) -> tuple[str, str]:
    """What an error says, and its code: MLflow's shape, or Pluto's."""
    match fields:
        case {"error_code": str(code), "message": str(message)}:
            return message[:500], code
        case {"error": str(code), "message": str(message)}:
            return message[:500], code
        case {"error": str(message)}:
            return message[:500], ""
    return "", ""


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except (ValueError, RecursionError):
        return None


def _shown(url: str) -> str:
    """An address without what may be a permission in it."""
    return without_users(url.partition("?")[0])[:120]
