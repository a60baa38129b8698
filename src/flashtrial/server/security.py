"""Guards in front of every route, as plain ASGI layers that any app of ours may wear.

A page that the user visits can send requests to this machine, under a name that it made resolve here. It cannot choose
the `Host` and `Origin` headers that the browser writes, so those decide, before anything is parsed or read.
"""

import asyncio
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flashtrial.server.refusals import Refusal, is_below, refuse

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_TIMEOUT_S = 5.0

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})  # another port of this machine is the same site
_READING = frozenset({"GET", "HEAD"})


class BodyTooLarge(HTTPException):
    """Raised inside a route, by reading its body, when more came than the server takes."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(413, f"the body is larger than {max_bytes} bytes: send less at once", {"Connection": "close"})


class HostGuard:
    """Lets a request pass whose `Host` is ours and whose `Origin`, where it has one, is ours or allowed; else 403.

    What a browser sends for another site's page without an `Origin` (pictures, scripts, frames, and whatever an
    extension or an old browser leaves it out of) passes only where the user follows a link: a page of ours, read.
    `hosts` are names without a port, beside the loopback ones; `origins` whole origins (``https://example.org:8443``).
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(name.strip("[]").lower() for name in (*LOOPBACK_HOSTS, *hosts))
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (problem := self._problem(scope.get("method", ""), scope)) is None:
            await self._app(scope, receive, send)
        else:
            await refuse(scope, receive, send, Refusal(403, "forbidden", problem))

    def _problem(self, method: str, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = [_name_and_port(f"//{host}") for host in headers.getlist("host")]
        if len(hosts) != 1 or hosts[0] is None or hosts[0][0] not in self._hosts:
            return "this server does not serve that host name: use its own address, or allow the name when starting it"
        origins = headers.getlist("origin")
        if not all(self._is_ours(origin.lower(), hosts[0][1]) for origin in origins):
            return "requests from pages of another origin are refused"
        if not origins and not _is_asked_by_the_user(method, headers):
            return "requests that another site's page makes are refused"
        return None

    def _is_ours(self, origin: str, port: int | None) -> bool:
        """Whether a page at `origin` is one of ours: any of our names, at the port that the request came to."""
        if origin in self._origins:
            return True
        place = _name_and_port(origin)
        if place is None or not origin.startswith(("http://", "https://")):
            return False
        default = 443 if origin.startswith("https://") else 80
        return place[0] in self._hosts and (place[1] or default) == (port or default)


def _is_asked_by_the_user(method: str, headers: Headers) -> bool:
    """Whether a request without an `Origin` comes from no page, from one of ours, or a link that somebody follows."""
    if headers.get("sec-fetch-site", "").lower() not in _FOREIGN_SITES:
        return True
    follows = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest", "document") == "document"
    return follows and method in _READING


def _name_and_port(address: str) -> tuple[str, int | None] | None:
    """Host name in lower case without brackets, and port, of an address with two slashes; None when it has none."""
    try:
        parts = urlsplit(address)
        if parts.hostname is None or parts.username is not None:
            return None
        return parts.hostname, parts.port
    except ValueError:
        return None


class BodyLimit:
    """Counts a request's body while it is read; past `max_bytes` the reader gets `BodyTooLarge`, the client 413.

    Holds for the paths below `prefixes`: other parts of the same port have limits of their own, as have those that are
    below `except_below` and stream what they get to the disk.
    A body that says it is compressed gets 415: nothing here unpacks one, so a small one never becomes a large one.
    What `Content-Length` says is not trusted. What comes after the limit is read and thrown away, up to 64 MiB or 5 s,
    because a client that is cut off while it sends never reads the answer.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, prefixes: Iterable[str] = ("",), except_below: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._prefixes = tuple(prefixes)
        self._except = tuple(except_below)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_below(scope["path"], self._prefixes):
            await self._app(scope, receive, send)
            return
        if Headers(scope=scope).get("content-encoding", "identity").lower() != "identity":
            await refuse(scope, receive, send, Refusal(415, "unsupported_encoding", "send it not compressed"))
            return
        if is_below(scope["path"], self._except):
            await self._app(scope, receive, send)
            return
        answering = Answering(send)
        try:
            await self._app(scope, self._counted(receive), answering)
        except BodyTooLarge as error:
            if answering.has_begun:
                raise
            await refuse(scope, receive, send, Refusal(413, "too_large", error.detail, {"Connection": "close"}))

    def _counted(self, receive: Receive) -> Receive:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_bytes:
                if message.get("more_body"):
                    await _drain(receive)
                raise BodyTooLarge(self._max_bytes)
            return message

        return counted


class Answering:
    """A `send` that remembers whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)


async def _drain(receive: Receive) -> None:
    left = DRAIN_BYTES
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


class SecurityHeaders:
    """Puts on every answer what keeps a browser from running, guessing or framing what it should not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)
