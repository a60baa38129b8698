"""Ports for servers under test."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of `host` that nobody listened on a moment ago.

    Another process may take it before the caller does; where the server can bind to port 0 itself, that is better.
    """
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
