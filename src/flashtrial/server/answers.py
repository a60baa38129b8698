"""JSON answers, errors included, in the one shape that every route gives: ``{"error": slug, "message": text}``."""

import sqlite3

import orjson
from starlette.responses import Response

from flashtrial.server.commit_queue import NotRunning, QueueFull
from flashtrial.server.storage.reserve import is_full

JSON = "application/json"


def json_answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON, which no cache keeps."""
    return Response(orjson.dumps(content), status, {"Cache-Control": "no-store", **(headers or {})}, JSON)


def error_answer(status: int, error: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error that says what happened and what to do; `error` is a stable slug for programs."""
    return json_answer({"error": error, "message": message}, status, headers)


NOT_TAKEN = (QueueFull, NotRunning, sqlite3.Error)  # why a repository takes nothing now


def busy_answer(error: Exception) -> Response:
    """503 for one of `NOT_TAKEN`: nothing of the request was stored, and when to ask again."""
    if is_full(error):
        words = f"the server's disk or quota is full ({error}), nothing of this was stored: make room, or remove runs"
        return error_answer(503, "disk_full", words, {"Retry-After": "10"})
    if isinstance(error, sqlite3.Error):
        return error_answer(503, "not_stored", f"nothing of this was stored: {error}", {"Retry-After": "1"})
    return error_answer(503, "busy", str(error), {"Retry-After": "1"})
