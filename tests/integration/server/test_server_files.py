"""Files over HTTP: uploads that go on, answers that a browser can do nothing bad with, and limits."""

import gzip
import hashlib
import json
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest

from flashtrial.protocol.records import encode_record
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.files.cleanup import remove_forgotten
from flashtrial.server.files.limits import BlobLimits
from testkit.tracking_server import Answer, TrackingClient, batch, state, tracking_server
from testkit.waiting import wait_until

JSON = {"Content-Type": "application/json"}


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def begin(server: TrackingClient, content: bytes, run_id: str | None = None) -> Answer:
    body = {"sha256": sha256_of(content), "size": len(content), "run_id": run_id}
    return server.request("POST", "/api/v1/blobs", json.dumps(body).encode(), JSON)


def write(server: TrackingClient, content: bytes, start: int, end: int, **headers: str) -> Answer:
    path = f"/api/v1/blobs/{sha256_of(content)}?size={len(content)}&offset={start}"
    return server.request("PUT", path, content[start:end], headers)


def commit(server: TrackingClient, content: bytes) -> Answer:
    return server.request("POST", f"/api/v1/blobs/{sha256_of(content)}/commit?size={len(content)}")


def upload(server: TrackingClient, content: bytes) -> None:
    begin(server, content)
    write(server, content, 0, len(content))
    assert commit(server, content).json()["is_complete"]


def file_frame(seq: int, content: bytes, **fields: Any) -> bytes:
    body = {"name": "f", "type": "file", "sha256": sha256_of(content), "size": len(content), **fields}
    return encode_record(seq, "file", 1000 * seq, body)


def log_file(server: TrackingClient, run_id: str, content: bytes, **fields: Any) -> dict[str, Any]:
    server.ingest(batch(run_id, state(1, "running"), file_frame(2, content, **fields)))
    files: list[dict[str, Any]] = server.get(f"/api/v1/runs/{run_id}/files").json()["files"]
    return files[0]


def test_an_upload_says_where_it_stands_and_goes_on_there(standing_server: TrackingClient) -> None:
    content = bytes(range(256)) * 40
    assert begin(standing_server, content).json()["received"] == 0
    assert write(standing_server, content, 0, 4000).json()["received"] == 4000
    assert begin(standing_server, content).json()["received"] == 4000
    late = write(standing_server, content, 5000, 6000)
    assert (late.status, late.json()["received"], late.json()["error"]) == (409, 4000, "out_of_place")
    assert write(standing_server, content, 3000, len(content)).json()["received"] == len(content)
    assert commit(standing_server, content).json()["is_complete"]
    assert commit(standing_server, content).json()["is_complete"]
    assert begin(standing_server, content).json()["is_complete"]
    assert standing_server.get(f"/api/v1/blobs/{sha256_of(content)}").body == content


def test_a_small_file_takes_two_requests(standing_server: TrackingClient) -> None:
    content = b"a small file"
    begin(standing_server, content)
    path = f"/api/v1/blobs/{sha256_of(content)}?size={len(content)}&commit=true&offset="
    assert not standing_server.request("PUT", f"{path}0", content[:5]).json()["is_complete"]
    assert standing_server.request("PUT", f"{path}5", content[5:]).json()["is_complete"]
    wrong = f"/api/v1/blobs/{sha256_of(b'right')}?size=5&commit=true"
    begin(standing_server, b"right")
    assert standing_server.request("PUT", wrong, b"wrong").json()["error"] == "blob_damaged"


def test_a_chunk_that_was_damaged_on_the_way_is_told_by_its_checksum(standing_server: TrackingClient) -> None:
    content = b"a chunk of something"
    begin(standing_server, content)
    wrong = write(standing_server, content, 0, 20, **{"Upload-Checksum": "crc32 00000000"})
    assert (wrong.status, wrong.json()["error"]) == (400, "chunk_damaged")
    right = {"Upload-Checksum": f"crc32 {zlib.crc32(content):08x}"}
    assert write(standing_server, content, 0, 20, **right).status == 200


def test_what_cannot_be_is_refused_in_words(standing_server: TrackingClient) -> None:
    content = b"never begun"
    assert write(standing_server, content, 0, 5).json()["error"] == "no_such_upload"
    assert commit(standing_server, content).json()["error"] == "no_such_upload"
    assert standing_server.get(f"/api/v1/blobs/{sha256_of(content)}").status == 404
    for name in ("../server.db", "..%2f..%2fserver.db", "A" * 64, "0" * 63):
        assert standing_server.get(f"/api/v1/blobs/{name}").status in (404, 422)
        assert standing_server.request("PUT", f"/api/v1/blobs/{name}?size=1", b"x").status in (404, 405, 422)
    bad = json.dumps({"sha256": "../x", "size": 1}).encode()
    assert standing_server.request("POST", "/api/v1/blobs", bad, JSON).status == 422


def test_limits_of_file_run_server_and_chunk_are_said(tmp_path: Path) -> None:
    limits = BlobLimits(file_bytes=1000, run_bytes=1500, total_bytes=2500, chunk_bytes=800, reserve_bytes=0)
    with tracking_server(tmp_path / "home", blob_limits=limits) as server:
        assert begin(server, b"x" * 1001).status == 413
        large = write(server, b"a" * 1000, 0, 900)
        assert (large.status, large.json()["error"]) == (413, "too_large")
        server.ingest(batch("r", state(1, "running"), file_frame(2, b"a" * 1000), file_frame(3, b"b" * 1000)))
        assert begin(server, b"a" * 1000, "r").status == 413
        assert begin(server, b"a" * 1000).status == 200
        for content in (b"c" * 800, b"d" * 800, b"e" * 800):
            upload(server, content)
        full = begin(server, b"f" * 800)
        assert (full.status, full.json()["error"], full.headers["Retry-After"]) == (507, "store_full", "30")


def test_a_file_waits_for_its_bytes_and_is_served_with_ranges(standing_server: TrackingClient) -> None:
    content = bytes(range(100))
    file = log_file(standing_server, "ranges", content, mime="image/png", file_name="shot.png", caption="c", step=4)
    assert (file["is_pending"], file["step"], file["caption"]) == (True, 4, "c")
    address = f"/api/v1/runs/ranges/files/{file['id']}/content"
    waiting = standing_server.get(address)
    assert (waiting.status, waiting.json()["error"]) == (404, "pending")
    upload(standing_server, content)
    whole = standing_server.get(address)
    assert (whole.body, whole.headers["Content-Type"]) == (content, "image/png")
    part = standing_server.get(address, Range="bytes=10-19")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, content[10:20], "bytes 10-19/100")
    assert standing_server.get(address, Range="bytes=200-").status == 416
    assert standing_server.get(address, **{"If-None-Match": whole.headers["ETag"]}).status == 304
    assert standing_server.get(f"/api/v1/runs/other/files/{file['id']}/content").status == 404


@pytest.mark.parametrize(
    ("mime", "file_name", "served"),
    [
        ("text/html", "page.html", "application/octet-stream"),
        ("text/html; charset=utf-8", "x", "application/octet-stream"),
        ("application/xhtml+xml", "page.xhtml", "application/octet-stream"),
        ("image/svg+xml", "drawing.svg", "image/svg+xml"),
        ("application/javascript", "code.js", "application/octet-stream"),
        ("application/pdf", "paper.pdf", "application/octet-stream"),
        ("IMAGE/PNG\r\nX-Evil: 1", "x.png", "application/octet-stream"),
    ],
)
def test_what_could_run_is_a_download_in_a_sandbox(
    standing_server: TrackingClient, mime: str, file_name: str, served: str
) -> None:
    content = f"<script>alert('{mime}{file_name}')</script>".encode()
    upload(standing_server, content)
    run_id = sha256_of(content)[:8]
    file = log_file(standing_server, run_id, content, mime=mime, file_name=file_name)
    answer = standing_server.get(f"/api/v1/runs/{run_id}/files/{file['id']}/content")
    assert answer.body == content
    assert answer.headers["Content-Type"] == served
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert "X-Evil" not in answer.headers


def test_text_is_shown_as_text_and_nothing_else(standing_server: TrackingClient) -> None:
    content = b"<b>markup</b>"
    upload(standing_server, content)
    file = log_file(standing_server, "texts", content, mime="text/markdown", file_name="a.md")
    answer = standing_server.get(f"/api/v1/runs/texts/files/{file['id']}/content")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("inline;")
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\r\nSet-Cookie: x=1", '"; filename=x', "🎈 ☃", "..", "\x00", "<i>"]
)
def test_names_are_words_and_never_paths_or_headers(
    standing_server: TrackingClient, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = f"named {name!r}".encode()
    upload(standing_server, content)
    run_id = f"names/{sha256_of(content)[:8]}"  # ids of runs may have slashes
    file = log_file(standing_server, run_id, content, name=name, file_name=name)
    assert (file["name"], file["file_name"]) == (name, name)
    answer = standing_server.get(f"/api/v1/runs/{run_id}/files/{file['id']}/content")
    assert answer.body == content
    disposition = answer.headers["Content-Disposition"]
    assert disposition.isascii()
    assert not set(disposition.partition("UTF-8''")[2]) & set('/\\"; \r\n<')
    assert "Set-Cookie" not in answer.headers


def test_a_compressed_bomb_is_kept_as_it_came_or_refused(standing_server: TrackingClient) -> None:
    content = gzip.compress(bytes(20_000_000))
    begin(standing_server, content)
    assert write(standing_server, content, 0, len(content), **{"Content-Encoding": "gzip"}).status == 415
    assert write(standing_server, content, 0, len(content)).status == 200
    commit(standing_server, content)
    file = log_file(standing_server, "bomb", content, mime="application/gzip", file_name="b.gz")
    answer = standing_server.get(f"/api/v1/runs/bomb/files/{file['id']}/content")
    assert answer.headers["Content-Length"] == str(len(content))
    assert "Content-Encoding" not in answer.headers


def test_files_and_data_come_in_pages_and_by_name(standing_server: TrackingClient) -> None:
    frames = [file_frame(seq, b"same", name=f"n{seq % 2}", type="image", index=seq) for seq in range(2, 12)]
    data = [
        encode_record(seq, "data", seq, {"name": "t", "type": kind, "step": seq, "value": {"seq": seq}})
        for seq, kind in ((12, "table"), (13, "graph"), (14, "table"))
    ]
    standing_server.ingest(batch("pages", state(1, "running"), *frames, *data))
    first = standing_server.get("/api/v1/runs/pages/files?limit=6").json()
    rest = standing_server.get(f"/api/v1/runs/pages/files?limit=6&after={first['next']}").json()
    assert [file["index"] for file in first["files"] + rest["files"]] == list(range(2, 12))
    assert rest["next"] is None
    named = standing_server.get("/api/v1/runs/pages/files?name=n1&type=image").json()["files"]
    assert [file["index"] for file in named] == [3, 5, 7, 9, 11]
    tables = standing_server.get("/api/v1/runs/pages/data?type=table&limit=1").json()
    assert [datum["value"]["seq"] for datum in tables["data"]] == [12]
    more = standing_server.get(f"/api/v1/runs/pages/data?type=table&offset={tables['next']}").json()
    assert [datum["value"]["seq"] for datum in more["data"]] == [14]
    for path in ("files", "data"):
        assert standing_server.get(f"/api/v1/runs/nobody/{path}").status == 404


def test_uploads_need_the_token(tmp_path: Path) -> None:
    with tracking_server(tmp_path / "home", token="secret") as server:
        assert begin(server, b"x").status == 401
        assert write(server, b"x", 0, 1).status == 401
        assert server.get(f"/api/v1/blobs/{sha256_of(b'x')}").status == 401


def test_contents_that_no_run_names_are_removed_when_they_are_old(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home) as server:
        for content in (b"named", b"forgotten"):
            upload(server, content)
        log_file(server, "keeps", b"named")
        store = BlobStore(flashtrial_home / "blobs")
        database = flashtrial_home / "server.db"
        assert remove_forgotten(store, database) == 0
        assert remove_forgotten(store, database, older_than_s=-1) == len(b"forgotten")
        assert server.get(f"/api/v1/blobs/{sha256_of(b'named')}").body == b"named"
        assert server.get(f"/api/v1/blobs/{sha256_of(b'forgotten')}").status == 404


def test_a_file_that_comes_while_its_run_is_removed_is_not_said_to_be_kept(
    server: TrackingClient, flashtrial_home: Path
) -> None:
    """What arrived of it names nobody, and goes with what is forgotten."""
    made = server.request("POST", "/api/2.0/mlflow/runs/create", b'{"experiment_id": "0"}', JSON)
    run_id = made.json()["run"]["info"]["run_id"]
    content = b"x" * 100_000
    address = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/model.bin"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        lines = (f"PUT {address} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}", "Connection: close")
        connection.sendall("\r\n".join((*lines, "", "")).encode() + content[:60_000])
        partial = flashtrial_home / "blobs" / "partial"
        wait_until(lambda: list(partial.glob("incoming-*")), what="the upload to begin")
        assert server.request("DELETE", f"/api/v1/runs/{run_id}").status == 200
        connection.sendall(content[60_000:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"the run was removed" in answer
    assert server.get(f"/api/v1/runs/{run_id}").status == 404
    assert remove_forgotten(BlobStore(flashtrial_home / "blobs"), flashtrial_home / "server.db", -1) == len(content)
