"""A server process for the browser: serves its FLASHTRIAL_HOME on port `argv[2]`, or a free one for 0.

The port is written to the file `argv[1]` once it is open.
"""

import socket
import sys
from pathlib import Path

import uvicorn

from flashtrial.core.files import write_atomically
from flashtrial.server.app import create_app

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
    write_atomically(Path(sys.argv[1]), str(listener.getsockname()[1]).encode())
    uvicorn.Server(uvicorn.Config(create_app(), log_level="warning", ws="none")).run([listener])
