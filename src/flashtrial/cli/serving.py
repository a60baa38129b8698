"""The process that `flashtrial up` becomes: composes server and local RunPod into one app and serves it.

Imports FastAPI and uvicorn, about a second: only `up` imports this module.
"""

import asyncio
import contextlib
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from flashtrial.cli import instance, one_port
from flashtrial.cli.one_port import Listener, OnePortServer
from flashtrial.cli.up import Say, UpOptions, is_loopback, own_instance, say_who_may_come
from flashtrial.core import env, log
from flashtrial.local_runpod.auth import load_or_make_key
from flashtrial.server.access.heads import PatientProtocol
from flashtrial.server.app import ServerSettings, create_app, end_streams

if TYPE_CHECKING:
    from flashtrial.local_runpod.app import LocalRunpod


def run(home: Path, options: UpOptions, say: Say) -> None:
    """Serve until a signal ends it; the caller holds the claim on `home`. Raises `NoFreePort`."""
    log.configure()
    listener = one_port.listen(options.host, options.port)
    with listener.socket:
        if options.port and listener.port != options.port:
            say(f"port {options.port} is taken by another program: using {listener.port}")
        asyncio.run(_serve(home, options, listener, say))


async def _serve(home: Path, options: UpOptions, listener: Listener, say: Say) -> None:
    key = load_or_make_key(home)
    app = create_app(_server_settings(home, listener, key))
    async with contextlib.AsyncExitStack() as parts:
        if options.runpod:
            local = _local_runpod(home, options, listener, key)
            app.include_router(local.router)
            parts.push_async_callback(local.stop)
            await local.start()  # what its first workers ask waits in the socket's queue

        this = own_instance(listener.url, listener.port, runpod=options.runpod)

        async def on_serving() -> None:
            instance.write(home, this)
            say(f"dashboard: {listener.url}")
            say_who_may_come(options.host, listener.port, say)

        async def on_leaving() -> None:
            with contextlib.suppress(OSError):  # a full disk must not keep anybody from ending
                instance.write(home, replace(this, is_leaving=True))
            await parts.aclose()
            end_streams(app)

        await OnePortServer(_uvicorn_config(app), on_serving, on_leaving).serve([listener.socket])


def _server_settings(home: Path, listener: Listener, key: str) -> ServerSettings:
    if is_loopback(listener.host):
        return ServerSettings(home)
    return ServerSettings(home, token=key, allowed_hosts=_names_of(listener.host))


def _local_runpod(home: Path, options: UpOptions, listener: Listener, key: str) -> "LocalRunpod":
    from flashtrial.local_runpod.app import LocalRunpod

    return LocalRunpod(
        home=home,
        base_url=listener.url,
        key=key,
        max_workers=options.workers,
        environment=env.snapshot() | {env.HOME: str(home), env.URL: listener.url},
    )


def _uvicorn_config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=one_port.GRACE_S,
        lifespan="on",
    )


def _names_of(host: str) -> tuple[str, ...]:
    """The names under which other machines may ask for a socket bound to `host`: it, this machine's, its addresses."""
    name = socket.gethostname()
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    except socket.gaierror:  # the machine does not know itself by name
        addresses = set()
    return tuple(sorted({host, name, socket.getfqdn(), *addresses}))
