"""Small questions to a server over HTTP, each with a deadline, whose failure is an answer and no exception."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import urllib3

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` is 0 when nothing did, and `problem` then says why."""

    status: int
    body: bytes = b""
    problem: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, or None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a server is up; `detail` says why it is not, or what hinders one that is."""

    is_up: bool
    detail: str = ""


def readiness(url: str) -> Readiness:
    """What the server at `url` says to ``/readyz``. One whose disk is full still shows and removes runs: it is up."""
    answer = get(f"{url}/readyz")
    match answer.status, answer.json():
        case 503, {"error": "disk_full", "message": str(words)}:
            return Readiness(True, words)
    return Readiness(answer.ok, answer.problem)


def get(url: str, *, key: str = "") -> Answer:
    """The answer to a GET of `url`, with `key` as the bearer token where one is given. Never raises for the network."""
    return _ask("GET", url, key, b"")


def post(url: str, fields: Mapping[str, object], *, key: str = "") -> Answer:
    """The answer to a POST of `fields` as JSON; otherwise as `get`."""
    return _ask("POST", url, key, json.dumps(fields).encode())


def _ask(method: str, url: str, key: str, body: bytes) -> Answer:
    import urllib3

    headers = {"Content-Type": "application/json"} if body else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        response = _pool().request(
            method, url, body=body or None, headers=headers, timeout=TIMEOUT_S, retries=False, redirect=False
        )
    except urllib3.exceptions.HTTPError as error:
        return Answer(0, problem=_plainly(error))
    return Answer(response.status, response.data, "" if response.status < 400 else f"answered {response.status}")


@functools.cache
def _pool() -> "urllib3.PoolManager":
    import urllib3

    return urllib3.PoolManager(maxsize=2)


def _plainly(error: Exception) -> str:
    text = str(error)
    if "refused" in text:
        return "nothing listens there"
    if "timed out" in text:
        return f"no answer within {TIMEOUT_S:g} s"
    return text
