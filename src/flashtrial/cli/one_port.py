"""The one app behind the one port: tracking server, dashboard and local RunPod, and the socket they share.

The socket is bound before anything else, so that the address is known to the parts that must tell it to others, and
nobody can take it in between.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import uvicorn

from flashtrial.core import env
from flashtrial.core.errors import FlashtrialError

PORTS_TRIED = 50
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104 - compared with, not bound


class NoFreePort(FlashtrialError):
    """Raised when neither the wanted port nor any of those after it can be had."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket, owned by whoever serves on it, and how this machine's clients reach it."""

    socket: socket.socket
    host: str
    port: int

    @property
    def url(self) -> str:
        host = _WILDCARDS.get(self.host, f"[{self.host}]" if ":" in self.host else self.host)
        return f"http://{host}:{self.port}"


def listen(host: str, port: int = env.DEFAULT_PORT) -> Listener:
    """A socket bound to `port` of `host`, or to the first free one of the 50 from there; port 0 is any.

    Raises `NoFreePort` when all are taken, and when `host` is no address of this machine.
    """
    last = min(port + PORTS_TRIED, 65536) if port else 1
    for candidate in range(port, last):
        try:
            return _bind(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise NoFreePort(f"cannot listen on {host}:{candidate}: {error.strerror or error}") from error
    raise NoFreePort(f"ports {port} to {last - 1} of {host} are all taken: name another one with --port")


def listen_exactly(host: str, port: int) -> Listener:
    """A socket bound to `port` of `host` and no other. Raises `NoFreePort`."""
    try:
        return _bind(host, port)
    except OSError as error:
        raise NoFreePort(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _bind(host: str, port: int) -> Listener:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it. asyncio sets it on those only whose protocol was named when they were made, and
        # without it head and body of an answer lie 40 ms apart on a connection that is kept alive.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind((host, port))
        # Linux lets two sockets be bound where neither listens yet: only listening makes the port ours.
        bound.listen(1024)
    except OSError:
        bound.close()
        raise
    return Listener(bound, host, bound.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Door:
    """One more way in: a bound socket, how it is served (in the same loop and life), and TLS where it is spoken."""

    listener: Listener
    config: uvicorn.Config
    tls: ssl.SSLContext | None = None


class OnePortServer(uvicorn.Server):
    """uvicorn, with a word when it serves and one before it stops: workers leave while their requests are answered.

    `doors` are served beside its own sockets, and closed with them.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_serving: Callable[[], Awaitable[None]],
        on_leaving: Callable[[], Awaitable[None]],
        doors: Sequence[Door] = (),
    ) -> None:
        super().__init__(config)
        self._doors = doors
        self._on_serving = on_serving
        self._on_leaving = on_leaving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        try:
            for door in self._doors:
                await self._open(door)
            await self._on_serving()
        except BaseException:
            await self.shutdown(sockets=sockets)
            raise

    async def _open(self, door: Door) -> None:
        if not door.config.loaded:
            door.config.load()

        def protocol() -> asyncio.Protocol:
            return door.config.http_protocol_class(  # type: ignore[call-arg]  # one of uvicorn's own
                config=door.config, server_state=self.server_state, app_state=self.lifespan.state
            )

        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(protocol, sock=door.listener.socket, ssl=door.tls))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await self._on_leaving()
        finally:
            await super().shutdown(sockets=sockets)
