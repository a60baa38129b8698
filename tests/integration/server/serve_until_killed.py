"""A server process for tests that kill it: serves its FLASHTRIAL_HOME on a free port and writes that to `argv[1]`."""

import socket
import sys
from pathlib import Path

import uvicorn

from flashtrial.core.files import write_atomically
from flashtrial.server.app import create_app

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    write_atomically(Path(sys.argv[1]), str(listener.getsockname()[1]).encode())
    uvicorn.Server(uvicorn.Config(create_app(), log_level="warning", ws="none")).run([listener])
