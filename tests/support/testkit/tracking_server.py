"""A real tracking server on a loopback port, a client for it, and records to send."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import urllib3
import uvicorn

from flashtrial.protocol.records import Batch, encode_batches, encode_record
from flashtrial.server.access.heads import PatientProtocol
from flashtrial.server.app import create_app, end_streams
from flashtrial.server.settings import ServerSettings
from testkit.waiting import wait_until

MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"


def metric(seq: int, values: Mapping[str, object], *, step: int | None = None, time_ms: int | None = None) -> bytes:
    """The frame of a metric record; it stands at step `seq` and second `seq` unless told otherwise."""
    body = {"step": seq if step is None else step, "values": dict(values)}
    return encode_record(seq, "metric", 1000 * seq if time_ms is None else time_ms, body)


def state(seq: int, status: str, **fields: object) -> bytes:
    """The frame of a state record at second `seq`."""
    return encode_record(seq, "state", 1000 * seq, {"status": status, **fields})


def batch(run_id: str, *frames: bytes, writer_id: str = "w1") -> Batch:
    """A batch of one writer."""
    return Batch(run_id, writer_id, b"".join(frames))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


class TrackingClient:
    """Speaks to the server at `port` of this machine as any HTTP client does; nothing is retried."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._pool = urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=4, retries=False, timeout=20)

    def close(self) -> None:
        self._pool.close()

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request. Raises `urllib3.exceptions.HTTPError` when no answer comes."""
        answer = self._pool.request(method, path, body=body, headers=dict(headers or {}), redirect=False)
        return Answer(answer.status, answer.headers, answer.data)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, body: bytes, content_type: str = MSGPACK) -> Answer:
        """An ingest request with this body."""
        return self.request("POST", "/api/v1/ingest", body, {"Content-Type": content_type})

    def ingest(self, *batches: Batch) -> list[dict[str, Any]]:
        """The results of an ingest request that must be accepted."""
        answer = self.post(encode_batches(list(batches)))
        assert answer.status == 200, answer.body
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def points(self, run_id: str, name: str) -> list[list[Any]]:
        """All points of a metric: [step, time_ms, value]."""
        answer = self.get(f"/api/v1/runs/{run_id}/metrics?name={name}&points=100000")
        assert answer.status == 200, answer.body
        points: list[list[Any]] = answer.json()["points"]
        return points

    @contextlib.contextmanager
    def events(self, path: str = "/api/v1/events", **headers: str) -> Iterator[Iterator[bytes]]:
        """The blocks of an event stream, each without its blank line, from the moment the server listens to us."""
        answer = self._pool.request("GET", path, headers=headers, preload_content=False)
        try:
            yield _blocks(answer)
        finally:
            answer.close()


def _blocks(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    pending = b""
    while chunk := answer.read1():
        *whole, pending = (pending + chunk).split(b"\n\n")
        yield from whole


class _Server(uvicorn.Server):
    """uvicorn that ends event streams before it waits for its connections to end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        end_streams(self.config.app)  # type: ignore[arg-type]  # ours, built by create_app
        await super().shutdown(sockets)


@contextlib.contextmanager
def tracking_server(
    home: Path, *, port: int = 0, http: type[asyncio.Protocol] = PatientProtocol, **settings: Any
) -> Iterator[TrackingClient]:
    """A server of `home` on a thread of this process, until the block ends; `http` reads requests.

    On a free port, or on `port`.
    """
    app = create_app(ServerSettings(home, **{"reserve_bytes": 0, **settings}))
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # uvloop, where it is installed, opens a pipe that stays open as long as the process: a leak to our fixtures.
    config = uvicorn.Config(app, http=http, loop="asyncio", ws="none", log_level="warning", lifespan="on")
    server = _Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    client = TrackingClient(listener.getsockname()[1])
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the server to start")
        assert server.started, "the server did not start; its log says why"
        yield client
    finally:
        client.close()
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"
