"""Compressed records: what the client packs the server unpacks, within the limits of what was not packed."""

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flashtrial.protocol.records import decode_batches, encode_batches
from flashtrial.tracking.backends.native import NativeBackend
from flashtrial.tracking.settings.address import Address
from testkit.tracking_server import MSGPACK, TrackingClient, batch, metric, tracking_server

LIMIT_BYTES = 2_000_000
MANY = batch("run_1", *(metric(seq, {"loss": seq / 7, "accuracy": seq / 9}) for seq in range(1, 2001)))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackingClient]:
    with tracking_server(tmp_path / "server", max_body_bytes=LIMIT_BYTES) as client:
        yield client


def packed(server: TrackingClient, body: bytes) -> tuple[int, str]:
    """Status and error of the answer to a body that says it is gzip."""
    answer = server.request("POST", "/api/v1/ingest", body, {"Content-Type": MSGPACK, "Content-Encoding": "gzip"})
    return answer.status, answer.json().get("error", "")


def test_what_the_client_packs_is_stored_as_it_was_written(server: TrackingClient) -> None:
    address = Address(f"http://127.0.0.1:{server.port}")
    with contextlib.closing(NativeBackend(lambda: address, is_near=lambda _: False)) as backend:
        [receipt] = backend.send([MANY])
        assert (receipt.stored, receipt.duplicates) == (2000, 0)
    assert [point[2] for point in server.points("run_1", "loss")] == [seq / 7 for seq in range(1, 2001)]


@pytest.mark.parametrize("size_bytes", [LIMIT_BYTES + 1, 100_000_000])
def test_a_small_body_that_unpacks_beyond_the_limit_is_too_large(server: TrackingClient, size_bytes: int) -> None:
    bomb = gzip.compress(bytes(size_bytes))
    assert len(bomb) < 100_000
    assert packed(server, bomb) == (413, "too_large")
    assert server.get("/healthz").status == 200


def test_what_is_no_gzip_or_only_a_part_of_one_is_refused_and_nothing_of_it_stored(server: TrackingClient) -> None:
    whole = gzip.compress(encode_batches([MANY]))
    for body in (b"no gzip", whole[:-1], whole[: len(whole) // 2], whole + b"more", whole + whole, b""):
        assert packed(server, body) == (400, "bad_body"), body[:20]
    assert server.get("/api/v1/runs").json()["runs"] == []
    assert packed(server, whole) == (200, "")


class Older(BaseHTTPRequestHandler):
    """A server that takes nothing compressed."""

    asked: list[str | None]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        coding = self.headers.get("Content-Encoding")
        self.asked.append(coding)
        results = [] if coding else [{"stored": 1, "duplicates": 0, "refused": []} for _ in decode_batches(body)]
        answer = json.dumps({"results": results}).encode()
        self.send_response(415 if coding else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_takes_nothing_packed_is_asked_once_and_gets_it_as_it_is() -> None:
    Older.asked = []
    with HTTPServer(("127.0.0.1", 0), Older) as older:
        thread = threading.Thread(target=older.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        address = Address(f"http://127.0.0.1:{older.server_address[1]}")
        try:
            with contextlib.closing(NativeBackend(lambda: address, is_near=lambda _: False)) as backend:
                assert backend.send([MANY])[0].stored == 1
                assert backend.send([MANY])[0].stored == 1
        finally:
            older.shutdown()
            thread.join()
    assert Older.asked == ["gzip", None, None]


def test_on_this_machine_nothing_is_packed_nor_is_what_is_small_elsewhere() -> None:
    Older.asked = []
    with HTTPServer(("127.0.0.1", 0), Older) as older:
        thread = threading.Thread(target=older.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        address = Address(f"http://127.0.0.1:{older.server_address[1]}")
        try:
            with contextlib.closing(NativeBackend(lambda: address)) as backend:
                backend.send([MANY])
            with contextlib.closing(NativeBackend(lambda: address, is_near=lambda _: False)) as backend:
                backend.send([batch("run_1", metric(1, {"x": 1.0}))])
        finally:
            older.shutdown()
            thread.join()
    assert Older.asked == [None, None]
