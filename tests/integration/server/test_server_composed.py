"""The server with another part's routes on the same port: its guards protect them, its limits are not theirs."""

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from fastapi import Request, Response

from flashtrial.server.app import create_app
from flashtrial.server.settings import ServerSettings

LARGE = 20_000_000


async def _echo_size(request: Request) -> Response:
    return Response(str(len(await request.body())))


async def _post(home: Path, path: str, host: str) -> tuple[int, bytes]:
    """The answer to a large POST, put to the app without a socket between."""
    app = create_app(ServerSettings(home))
    app.add_api_route("/v2/echo", _echo_size, methods=["POST"])
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * LARGE, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", host.encode()), (b"content-type", b"application/msgpack")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await asyncio.wait_for(app(scope, receive, send), 20)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def test_the_body_limit_of_the_api_is_not_that_of_other_routes(flashtrial_home: Path) -> None:
    assert await _post(flashtrial_home, "/v2/echo", "127.0.0.1:8787") == (200, str(LARGE).encode())
    assert (await _post(flashtrial_home, "/api/v1/ingest", "127.0.0.1:8787"))[0] == 413


async def test_a_foreign_host_reaches_no_route_of_any_part(flashtrial_home: Path) -> None:
    assert (await _post(flashtrial_home, "/v2/echo", "evil.example"))[0] == 403
