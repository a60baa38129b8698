"""JSON answers, errors included, in the one shape that every route gives: ``{"error": slug, "message": text}``."""

import orjson
from starlette.responses import Response

JSON = "application/json"


def json_answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON, which no cache keeps."""
    return Response(orjson.dumps(content), status, {"Cache-Control": "no-store", **(headers or {})}, JSON)


def error_answer(status: int, error: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error that says what happened and what to do; `error` is a stable slug for programs."""
    return json_answer({"error": error, "message": message}, status, headers)
