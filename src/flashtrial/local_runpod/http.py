"""What the three groups of routes share: reading bodies within a limit, answering JSON bytes, errors as JSON."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from flashtrial.local_runpod.errors import BadRequest, Refusal

MIB = 1024 * 1024
LARGEST_BODY_BYTES = 20 * MIB  # of all routes: an application's own limit must not be lower
# A body over its limit is still read so far, so that the sender gets the answer and not a broken connection.
_READ_ANYWAY_BYTES = 64 * MIB


class PlainErrorRoute(APIRoute):
    """A route whose refusals are answered as ``{"error": message}``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await inner(request)
            except Refusal as refusal:
                return JSONResponse({"error": refusal.message}, refusal.status)

        return answer


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises `Refusal` 413 when it is longer than `limit_bytes`, which are never held at once."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size <= limit_bytes:
                parts.append(part)
            elif size > _READ_ANYWAY_BYTES:
                break
            else:
                parts.clear()
    except ClientDisconnect as error:
        raise BadRequest("the connection ended inside the body") from error
    except HTTPException as error:  # the application's own limit was lower
        raise Refusal(error.status_code, str(error.detail)) from error
    if size > limit_bytes:
        raise Refusal(413, f"the body has more than the {limit_bytes // MIB} MB that this route takes")
    return b"".join(parts)


def json_response(body: bytes, status: int = 200) -> Response:
    """A response whose body is JSON already."""
    return Response(body, status, media_type="application/json")


def nothing() -> Response:
    """The answer to a poll for which there is nothing."""
    return Response(status_code=204)
