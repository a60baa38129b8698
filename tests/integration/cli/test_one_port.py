"""The socket that everything is served on."""

import socket

import pytest

from flashtrial.cli import one_port

pytestmark = pytest.mark.integration


def test_an_answer_in_two_pieces_does_not_wait_for_the_clients_acknowledgement() -> None:
    """With Nagle's algorithm on, the second piece waits 40 ms on a connection that is kept alive."""
    listener = one_port.listen("127.0.0.1", 0)
    with listener.socket, socket.create_connection(("127.0.0.1", listener.port)):
        accepted, _ = listener.socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
