"""The native backend keeps the contract of destinations, against the real server."""

import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.protocol.records import Batch, encode_record
from flashtrial.testing.backend_contract import RUN, BackendContract, batch
from flashtrial.tracking.backends.base import BatchReceipt, Outage
from flashtrial.tracking.backends.bodies import PIECE_BYTES
from flashtrial.tracking.backends.native import NativeBackend
from flashtrial.tracking.backends.native_files import FileBackend
from flashtrial.tracking.journal.routes import Destinations
from flashtrial.tracking.media.staging import stage_bytes
from flashtrial.tracking.settings.address import Address
from testkit import free_port
from testkit.tracking_server import TrackingClient, tracking_server

pytestmark = pytest.mark.integration


class TestNativeBackend(BackendContract):
    @pytest.fixture(autouse=True)
    def _serve(self, tmp_path: Path) -> Iterator[None]:
        with tracking_server(tmp_path / "server-home") as client:
            self._client: TrackingClient = client
            self._backend = NativeBackend(lambda: Address(f"http://127.0.0.1:{client.port}"))
            with contextlib.closing(self._backend):
                yield

    def backend(self) -> NativeBackend:
        return self._backend

    def stored_seqs(self, writer_id: str) -> list[int]:
        del writer_id  # the tests of the contract look at one writer's steps only
        return sorted(point[0] for point in self._client.points(RUN, "loss"))


def test_nobody_at_the_address_is_an_outage() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with contextlib.closing(NativeBackend(lambda: Address(url))) as backend, pytest.raises(Outage, match=url):
        backend.send([batch(1)])


def test_an_address_that_is_none_is_an_outage() -> None:
    with contextlib.closing(NativeBackend(lambda: Address("no address"))) as backend, pytest.raises(Outage):
        backend.send([batch(1)])


def test_an_answer_without_an_end_is_an_outage() -> None:
    """What such a page does to the memory is not for a test; that asking for it comes to an end is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=_answer_without_end, args=(listener,))
        thread.start()
        with (
            contextlib.closing(NativeBackend(lambda: Address(url))) as backend,
            pytest.raises(Outage, match="without coming to an end"),
        ):
            backend.send([batch(1)])
        thread.join(10)
        assert not thread.is_alive(), "the connection is still open"


def _answer_without_end(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


def test_what_is_large_leaves_in_pieces_each_of_which_has_the_time_limit_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece it would have to leave within seconds as a whole, which on a slow line it never does."""
    sizes: list[int] = []
    send = http.client.HTTPConnection.send

    def watched(connection: http.client.HTTPConnection, data: bytes) -> None:
        sizes.append(len(data))
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", watched)
    content = os.urandom(700_000)
    outbox = tmp_path / "outbox"
    staged = stage_bytes(outbox, content)
    file = {"name": "f", "size": len(content), "sha256": staged.sha256, "staged": staged.ref}
    with tracking_server(tmp_path / "server-home") as server:
        address = Address(f"http://127.0.0.1:{server.port}")
        with (
            contextlib.closing(NativeBackend(lambda: address)) as records,
            contextlib.closing(FileBackend(outbox, lambda: address, Destinations())) as files,
        ):
            value = {"name": "n", "type": "string", "step": 1, "value": "a" * 700_000}
            [stored] = records.send([Batch(RUN, "wr_1", encode_record(1, "data", 5, value))])
            [brought] = files.send([Batch(RUN, "wr_1", encode_record(2, "file", 5, file))])
    assert (stored.stored, brought) == (1, BatchReceipt())
    assert sum(sizes) > 1_400_000
    assert max(sizes) <= PIECE_BYTES
