"""A server process for tests that kill it: serves its FLASHTRIAL_HOME on the port of `argv[1]`, again and again."""

import socket
import sys

import uvicorn

from flashtrial.server.app import create_app

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    uvicorn.Server(uvicorn.Config(create_app(), log_level="warning", ws="none")).run([listener])
