"""The process that `flashtrial up` becomes: composes server and local RunPod into one app and serves it.

Imports FastAPI and uvicorn, about a second: only `up` imports this module.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import uvicorn
from starlette.types import ASGIApp

import flashtrial
from flashtrial.cli import instance, one_port
from flashtrial.cli.instance import Instance
from flashtrial.cli.one_port import Door, Listener, OnePortServer
from flashtrial.cli.up_options import Say, UpOptions, is_loopback, say_who_may_come
from flashtrial.core import env, log
from flashtrial.core.errors import ConfigurationError
from flashtrial.local_runpod.auth import load_or_make_key
from flashtrial.server.access.heads import PatientProtocol
from flashtrial.server.app import ServerSettings, create_app, end_streams, say_leaving
from flashtrial.server.dispatcher_app import dispatcher_only

if TYPE_CHECKING:
    from flashtrial.local_runpod.app import LocalRunpod


def run(home: Path, options: UpOptions, say: Say) -> None:
    """Serve until a signal ends it; the caller holds the claim on `home`. Raises `NoFreePort`."""
    log.configure(options.log_level)
    tls = tls_of(options)
    with contextlib.ExitStack() as sockets:
        public = one_port.listen(options.host, options.port)
        sockets.enter_context(public.socket)
        if options.port and public.port != options.port:
            say(f"port {options.port} is taken by another program: using {public.port}")
        # This machine's own programs need no certificate: with TLS they come by a port of their own.
        own = one_port.listen("127.0.0.1", 0) if tls else public
        sockets.enter_context(own.socket)
        asyncio.run(_serve(home, options, _Ways(own, public, tls), say))


@dataclass(frozen=True, slots=True)
class _Ways:
    """By which socket this machine's programs come, and by which everybody; the same where no TLS is spoken."""

    own: Listener
    public: Listener
    tls: ssl.SSLContext | None

    @property
    def url(self) -> str:
        """What people open."""
        return self.public.url.replace("http://", "https://", 1) if self.tls else self.public.url


def tls_of(options: UpOptions) -> ssl.SSLContext | None:
    """TLS as the options ask for it. Raises `ConfigurationError` for files that are no certificate and its key."""
    if options.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"{options.tls_cert} and {options.tls_key} cannot be used for TLS: {error}") from error
    return context


async def _serve(home: Path, options: UpOptions, ways: _Ways, say: Say) -> None:
    key, listener = load_or_make_key(home), ways.own
    app = create_app(_server_settings(home, options, ways, key))
    async with contextlib.AsyncExitStack() as parts:
        if options.runpod:
            local = _local_runpod(home, options, listener, key)
            app.include_router(local.router)
            parts.push_async_callback(local.stop)
            await local.start()  # what its first workers ask waits in the socket's queue

        this = _this_instance(listener.url, ways.public.port, runpod=options.runpod)

        async def on_serving() -> None:
            instance.write(home, this)
            say(f"dashboard: {ways.url}")
            say_who_may_come(options.host, ways.public.port, say, scheme="https" if ways.tls else "http")

        async def on_leaving() -> None:
            say_leaving(app)
            with contextlib.suppress(OSError):  # a full disk must not keep anybody from ending
                instance.write(home, replace(this, is_leaving=True))
            await parts.aclose()
            end_streams(app)

        config = _uvicorn_config(app, options)
        doors = [Door(ways.public, config, ways.tls)] if ways.tls else []
        if options.dispatcher_port is not None:
            dispatcher = one_port.listen_exactly(options.host, options.dispatcher_port)
            parts.enter_context(dispatcher.socket)
            doors.append(Door(dispatcher, _uvicorn_config(dispatcher_only(app), options), ways.tls))
            say(f"dispatcher: {dispatcher.url.replace('http://', 'https://', 1) if ways.tls else dispatcher.url}")
        await OnePortServer(config, on_serving, on_leaving, doors).serve([listener.socket])


def _this_instance(url: str, port: int, *, runpod: bool) -> Instance:
    """What this process writes about itself once it serves."""
    return Instance(os.getpid(), url, port, time.time_ns() // 1_000_000, flashtrial.__version__, runpod=runpod)


def _server_settings(home: Path, options: UpOptions, ways: _Ways, key: str) -> ServerSettings:
    settings = ServerSettings(home, access_log=options.access_log)
    if not options.is_for_others:
        return settings
    names = () if is_loopback(options.host) else _names_of(ways.public.host)
    return replace(settings, token=key, allowed_hosts=(*names, *options.allowed_hosts))


def _local_runpod(home: Path, options: UpOptions, listener: Listener, key: str) -> "LocalRunpod":
    from flashtrial.local_runpod.app import LocalRunpod

    return LocalRunpod(
        home=home,
        base_url=listener.url,
        key=key,
        max_workers=options.workers,
        environment=env.snapshot() | {env.HOME: str(home), env.URL: listener.url},
    )


def _uvicorn_config(app: ASGIApp, options: UpOptions) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_config=None,
        access_log=False,  # our own is `RequestMeter`
        timeout_graceful_shutdown=options.grace_s,
        timeout_keep_alive=options.keep_alive_s,
        lifespan="on",
    )


def _names_of(host: str) -> tuple[str, ...]:
    """The names under which other machines may ask for a socket bound to `host`: it, this machine's, its addresses.

    Of its interfaces as well: the name often leads to a loopback address only.
    """
    name = socket.gethostname()
    addresses = {
        address.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family in {socket.AF_INET, socket.AF_INET6}
    }
    with contextlib.suppress(socket.gaierror):  # the machine does not know itself by name
        addresses |= {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    return tuple(sorted({host, name, socket.getfqdn(), *addresses}))
