"""The process that `flashtrial up` becomes: composes server and local RunPod into one app and serves it.

Imports FastAPI and uvicorn, about a second: only `up` imports this module.
"""

import asyncio
import logging
from pathlib import Path

from flashtrial.cli import one_port
from flashtrial.cli.up import Say, UpOptions
from flashtrial.core import log

logger = logging.getLogger(__name__)


def run(home: Path, options: UpOptions, say: Say) -> None:
    """Serve until a signal ends it; the caller holds the claim on `home`."""
    log.configure()
    listener = one_port.listen(options.host, options.port)
    if options.port and listener.port != options.port:
        say(f"port {options.port} is taken by another program: using {listener.port}")
    asyncio.run(_serve(home, options, listener, say))


async def _serve(home: Path, options: UpOptions, listener: one_port.Listener, say: Say) -> None:
    raise NotImplementedError
