"""What a web page that the user visits, or a stranger without the token, gets from the server: nothing."""

from pathlib import Path

import pytest

from flashtrial.protocol.records import encode_batches
from testkit.tracking_server import MSGPACK, TrackingClient, batch, metric, tracking_server

PATHS = ["/", "/healthz", "/metrics", "/api/v1/runs", "/api/v1/events", "/api/v1/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8787", "localhost.evil.example", "127.0.0.1@evil", ""])
def test_a_foreign_host_name_is_refused_on_every_path(standing_server: TrackingClient, path: str, host: str) -> None:
    answer = standing_server.get(path, Host=host)
    assert (answer.status, answer.json()["error"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:1",
        "http://localhost",
        "file://",
        "http://127.0.0.1.evil.example",
        "http://localhost:x",
        "chrome-extension://localhost",
    ],
)
def test_a_page_of_another_origin_can_neither_read_nor_write(standing_server: TrackingClient, origin: str) -> None:
    server = standing_server
    assert server.get("/api/v1/runs", Origin=origin).status == 403
    body = encode_batches([batch("r", metric(1, {"x": 1}))])
    for content_type in (MSGPACK, "text/plain"):
        headers = {"Origin": origin, "Content-Type": content_type}
        assert server.request("POST", "/api/v1/ingest", body, headers).status == 403
    assert server.get("/api/v1/runs").json()["runs"] == []


def test_our_own_pages_and_names_pass(standing_server: TrackingClient) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        host = f"{name}:{standing_server.port}"
        assert standing_server.get("/api/v1/runs", Host=host, Origin=f"http://{host}").status == 200


def test_allowed_names_and_origins_pass(flashtrial_home: Path) -> None:
    names, origins = ("box.lan",), ("http://127.0.0.1:5173",)
    with tracking_server(flashtrial_home, allowed_hosts=names, allowed_origins=origins) as server:
        assert server.get("/api/v1/runs", Host="box.lan:80", Origin="http://box.lan").status == 200
        assert server.get("/api/v1/runs", Origin="http://127.0.0.1:5173").status == 200
        assert server.get("/api/v1/runs", Origin="http://127.0.0.1:5174").status == 403


def test_the_api_needs_the_token_where_one_is_set_and_health_does_not(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home, token="s3cret") as server:
        for wrong in ({}, {"Authorization": "Bearer nope"}, {"Authorization": "s3cret"}, {"Authorization": "Bearer é"}):
            answer = server.get("/api/v1/runs", **wrong)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert b"s3cret" not in answer.body
        assert server.post(encode_batches([batch("r", metric(1, {"x": 1}))])).status == 401
        assert server.get("/api/v1/runs", Authorization="Bearer s3cret").status == 200
        assert server.get("/healthz").status == 200
