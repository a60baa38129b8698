"""How slowly a client may send: who takes a connection and says nothing must not keep it from others."""

import asyncio
import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flashtrial.server.refusals import Refusal, refuse
from flashtrial.server.security import Answering

logger = logging.getLogger(__name__)

BODY_PATIENCE_S = 30.0
SLOWEST_BYTES_PER_S = 4096


class BodyTooSlow(Exception):
    """Raised inside a route, by reading its body, when the client sends it too slowly."""


class BodyPatience:
    """Lets a body take `patience_s`, and a second more for each 4 KiB that came; then the client gets 408.

    What comes after the body, the end of the connection, may take for ever: streams of events wait for it.
    """

    def __init__(self, app: ASGIApp, patience_s: float = BODY_PATIENCE_S) -> None:
        self._app = app
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering = Answering(send)
        try:
            await self._app(scope, self._hurried(receive), answering)
        except ClientDisconnect:  # in the middle of its body: nobody is there to be answered
            logger.debug("a client left before its body was whole", extra={"action": "client_left"})
        except BodyTooSlow:
            if answering.has_begun:
                raise
            words = "the rest of the body did not come: send it again"
            await refuse(scope, receive, send, Refusal(408, "too_slow", words, {"Connection": "close"}))

    def _hurried(self, receive: Receive) -> Receive:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        is_complete = False

        async def hurried() -> Message:
            nonlocal until, is_complete
            if is_complete:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                is_complete = True
                raise BodyTooSlow from None
            until += len(message.get("body", b"")) / SLOWEST_BYTES_PER_S
            is_complete = not message.get("more_body")
            return message

        return hurried
