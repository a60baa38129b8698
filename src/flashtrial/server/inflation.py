"""Compressed requests, unpacked a piece at a time on their way in, for the one route whose clients compress.

Stands before the limit on bodies, which so counts what comes out: a small body that would become a large one is cut off
where a large one is. All other routes refuse what says that it is compressed.
"""

import asyncio
import zlib
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flashtrial.server.refusals import Refusal, refuse

PIECE_BYTES: Final = 256 * 1024  # unpacked in less than a millisecond
_GZIP: Final = 31  # zlib's name for the format


class BadlyPacked(Exception):
    """Raised when a body is not what its ``Content-Encoding`` says."""


class Inflation:
    """Unpacks bodies of ``Content-Encoding: gzip`` for requests to `path`; what is no gzip gets 400."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_packed = scope["type"] == "http" and scope["path"] == self._path and _says_gzip(scope)
        if not is_packed:
            await self._app(scope, receive, send)
            return
        try:
            await self._app(_as_if_unpacked(scope), _Unpacking(receive), send)
        except BadlyPacked:  # nothing was answered: the route reads the whole body first
            await refuse(scope, receive, send, Refusal(400, "bad_body", "the body is no gzip"))


class _Unpacking:
    """A `Receive` whose messages hold at most `PIECE_BYTES` of what the body of another one unpacks to."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._unpack = zlib.decompressobj(_GZIP)
        self._packed = b""
        self._more_comes = True

    async def __call__(self) -> Message:
        """Raises `BadlyPacked`."""
        if self._packed:
            await asyncio.sleep(0)  # others' requests are not held up by one that unpacks to much
        elif self._more_comes:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._packed, self._more_comes = message.get("body", b""), message.get("more_body", False)
        return {"type": "http.request", "body": self._piece(), "more_body": bool(self._packed) or self._more_comes}

    def _piece(self) -> bytes:
        try:
            piece = self._unpack.decompress(self._packed, PIECE_BYTES)
        except zlib.error as error:
            raise BadlyPacked from error
        self._packed = self._unpack.unconsumed_tail
        is_over = self._unpack.eof
        if (is_over and self._unpack.unused_data) or (not is_over and not self._packed and not self._more_comes):
            raise BadlyPacked
        return piece


def _says_gzip(scope: Scope) -> bool:
    return Headers(scope=scope).get("content-encoding", "").strip().lower() == "gzip"


def _as_if_unpacked(scope: Scope) -> Scope:
    changed = dict(scope)
    headers = MutableHeaders(raw=list(scope["headers"]))
    del headers["content-encoding"]
    del headers["content-length"]
    changed["headers"] = headers.raw
    return changed
