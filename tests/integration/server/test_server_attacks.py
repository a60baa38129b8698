"""The attack table of docs/reference-security.md, against the running server: requests that mean harm, one by one."""

import gzip
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import jwt
import pytest
import urllib3

from flashtrial.core.clock import SystemClock
from flashtrial.protocol.records import encode_batches
from flashtrial.server.access import tokens
from flashtrial.server.access.tokens import Grant, Scope
from testkit.hostile import SCRIPT, WAYS_OUT, as_json, exchange, head
from testkit.tracking_server import Answer, TrackingClient, batch, metric, tracking_server

pytestmark = pytest.mark.integration

KEY = "ft_" + "k" * 43
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a relative way out of the server's home can reach: the home lies deeper than any of them climbs."""
    return tmp_path_factory.mktemp("attacked")


@pytest.fixture(scope="module")
def server(ground: Path) -> Iterator[TrackingClient]:
    """A server that has one run of each protocol, in a home with a key in it."""
    home = ground.joinpath(*"abcdef", "home")
    home.mkdir(parents=True)
    (home / "key").write_text("THE-SECRET-KEY")
    with tracking_server(home) as client:
        client.ingest(batch("r", metric(1, {"x": 1.0})))
        yield client


@pytest.fixture(scope="module")
def mlflow_run(server: TrackingClient) -> str:
    answer = server.request("POST", "/api/2.0/mlflow/runs/create", b'{"experiment_id": "0"}', JSON)
    return str(answer.json()["run"]["info"]["run_id"])


def is_harmless(answer: Answer) -> bool:
    """Whether no browser runs, guesses or frames an answer, and it tells nothing of our insides."""
    headers = answer.headers
    return (
        headers["X-Content-Type-Options"] == "nosniff"
        and "Content-Security-Policy" in headers
        and headers["Cross-Origin-Resource-Policy"] == "same-origin"
        and headers.get("Content-Type", "application/json").partition(";")[0] == "application/json"
        and not any(word in answer.body for word in (b"THE-SECRET-KEY", b"root:", b"Traceback", b".py"))
    )


READ_PATHS = [
    "/assets/{}",
    "/{}",
    "/api/v1/runs/{}",
    "/api/v1/runs/{}/files",
    "/api/v1/runs/r/files/{}/content",
    "/api/v1/runs/{}/metrics?name=x",
    "/api/v1/blobs/{}",
    "/api/runs/details/{}",
    "/api/runs/details/by-display-id/{}",
    "/pluto/get/{}",
    "/api/2.0/mlflow/runs/get?run_id={}",
    "/api/2.0/mlflow-artifacts/artifacts/{}",
    "/api/2.0/mlflow-artifacts/artifacts?path={}",
    "/api/2.0/mlflow-artifacts/artifacts/0/RUN/artifacts/{}",
    "/api/2.0/mlflow/artifacts/list?run_id={}",
    "/get-artifact?run_id=RUN&path={}",
    "/ajax-api/2.0/mlflow/get-artifact?run_id={}&path=x",
]


@pytest.mark.parametrize("path", READ_PATHS)
@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_path_leads_out_of_its_place(server: TrackingClient, mlflow_run: str, path: str, way: str) -> None:
    answer = exchange(server.port, head("GET", path.format(WAYS_OUT[way]).replace("RUN", mlflow_run)))
    assert answer.status in (400, 403, 404, 405, 422), answer.bytes[:300]
    assert b"THE-SECRET-KEY" not in answer.bytes
    assert b"root:" not in answer.bytes
    refused_unread = answer.status == 400 and b"Invalid HTTP request" in answer.bytes  # by the parser, before our code
    assert "x-content-type-options: nosniff" in answer.head or refused_unread


@pytest.mark.parametrize("way", WAYS_OUT)
def test_nothing_is_written_outside_of_the_blobs(
    server: TrackingClient, mlflow_run: str, way: str, ground: Path
) -> None:
    outside = _outside_blobs(ground)
    target = f"/api/2.0/mlflow-artifacts/artifacts/0/{mlflow_run}/artifacts/{WAYS_OUT[way]}"
    put = exchange(server.port, head("PUT", target, "Content-Length: 4") + b"evil")
    assert put.status in (200, 400, 404), put.bytes[:300]
    plain = unquote(WAYS_OUT[way])  # in JSON nobody else undoes the percent signs
    named = [{"fileName": name, "logName": name} for name in dict.fromkeys((WAYS_OUT[way], plain))]
    created = server.request("POST", "/api/runs/create", b'{"projectName": "p", "runName": "n"}', JSON)
    headers = {**JSON, "x-run-id": str(created.json()["runId"])}
    answer = server.request("POST", "/files", as_json({"files": named}), headers)
    assert answer.status == 200, answer.body
    addresses = [url for listed in answer.json().values() for file in listed for url in file.values()]
    assert len(addresses) == len(named)
    for address in addresses:
        stored = server.request("PUT", address.partition(f":{server.port}")[2], b"evil")
        assert stored.status in (200, 400, 422), stored.body
    assert _outside_blobs(ground) == outside


def _outside_blobs(ground: Path) -> dict[str, bytes | None]:
    """What each place holds that is neither the server's blobs nor its databases, of which it writes others."""
    places = [Path("/etc/passwd"), *ground.rglob("*")]
    quiet = (place for place in places if "blobs" not in place.parts and ".db" not in place.name)
    return {str(place): place.read_bytes() if place.is_file() else None for place in quiet}


def test_a_script_in_every_field_comes_back_as_data(server: TrackingClient) -> None:
    config = {SCRIPT: SCRIPT}
    state = {"status": "running", "project": SCRIPT, "name": SCRIPT, "tags": [SCRIPT], "config": config, "host": SCRIPT}
    bodies: Mapping[str, object] = {
        "state": {**state, "reason": SCRIPT},
        "metric": {"step": 1, "values": {SCRIPT: 1.0}},
        "console": {"stream": "stdout", "line": 1, "text": SCRIPT},
        "data": {"name": SCRIPT, "type": SCRIPT, "value": SCRIPT},
    }
    run = "/".join(("xss", SCRIPT))
    for seq, (kind, body) in enumerate(bodies.items(), 1):
        fields = {"run_id": run, "writer_id": SCRIPT, "seq": seq, "kind": kind, "time_ms": 1, "body": body}
        accepted = server.request("POST", "/api/v1/ingest", as_json(fields), JSON)
        assert (accepted.status, accepted.json()["results"][0]["stored"]) == (200, 1), accepted.body
        assert is_harmless(accepted)
    here, word = quote(run, safe=""), quote(SCRIPT, safe="")
    for path in (here, f"{here}/metric-names", f"{here}/metrics?name={word}", f"{here}/console", f"{here}/data"):
        answer = server.get(f"/api/v1/runs/{path}")
        assert answer.status == 200, answer.body
        assert is_harmless(answer)
        assert as_json(SCRIPT)[1:-1] in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/runs/{}",
        "/api/v1/runs/{}/events",
        "/api/v1/runs?sort={}",
        "/api/v1/runs?filter={}",
        "/api/v1/runs?status={}",
        "/api/v1/runs?cursor={}",
        "/api/v1/blobs/{}",
        "/api/v1/{}",
        "/{}",
        "/api/runs/details/{}",
        "/api/runs/metrics?runId={}",
        "/api/2.0/mlflow/{}",
        "/api/2.0/mlflow/runs/get?run_id={}",
        "/api/2.0/mlflow/experiments/get-by-name?experiment_name={}",
        "/pluto/get/{}",
    ],
)
def test_a_script_in_an_error_is_data_too(server: TrackingClient, path: str) -> None:
    answer = server.get(path.format(quote(f"none {SCRIPT}", safe="")))
    assert 400 <= answer.status < 500, answer.body
    assert is_harmless(answer)


@pytest.mark.parametrize("mime", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "text/javascript"])
def test_a_page_that_was_uploaded_does_nothing(server: TrackingClient, mlflow_run: str, mime: str) -> None:
    name = {"text/html": "x.html", "image/svg+xml": "x.svg", "text/xml": "x.xml"}.get(mime, "x.xhtml")
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{mlflow_run}/artifacts/{name}"
    assert server.request("PUT", path, SCRIPT.encode(), {"Content-Type": mime}).status == 200
    for address in (path, f"/get-artifact?run_id={mlflow_run}&path={name}"):
        answer = server.get(address)
        assert answer.body == SCRIPT.encode()
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_dashboard_runs_its_own_scripts_alone_and_in_no_frame(server: TrackingClient) -> None:
    for path in ("/", "/runs", "/runs/r"):
        answer = server.get(path)
        policy = answer.headers["Content-Security-Policy"]
        for rule in ("default-src 'self'", "script-src 'self'", "object-src 'none'", "frame-ancestors 'none'"):
            assert rule in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        assert answer.headers["X-Frame-Options"] == "DENY"


FORM = "application/x-www-form-urlencoded"
FOREIGN = {
    "a form": {"Origin": "https://evil.example", "Content-Type": FORM},
    "text/plain": {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    "a sandboxed frame": {"Origin": "null", "Content-Type": "text/plain"},
    "another port": {"Origin": "http://127.0.0.1:3000", "Content-Type": "application/json"},
    "no origin, other site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "no origin, other port": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    "no origin, a navigation": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "two origins": {"Origin": "http://127.0.0.1, https://evil.example"},
    "a file": {"Origin": "file://"},
}
CHANGES = [
    ("POST", "/api/v1/ingest"),
    ("POST", "/api/v1/heartbeat"),
    ("POST", "/api/v1/blobs"),
    ("DELETE", "/api/v1/runs/r"),
    ("POST", "/api/runs/create"),
    ("POST", "/ingest/metrics"),
    ("POST", "/api/2.0/mlflow/runs/create"),
    ("POST", "/api/2.0/mlflow/experiments/delete"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/x"),
    ("PUT", "/pluto/put/x"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("who", FOREIGN)
def test_no_foreign_page_changes_anything(server: TrackingClient, method: str, path: str, who: str) -> None:
    before = server.get("/api/v1/runs").json()
    answer = server.request(method, path, b"{}", FOREIGN[who])
    assert (answer.status, b"are refused" in answer.body) == (403, True), answer.body
    assert server.get("/api/v1/runs").json() == before


@pytest.mark.parametrize(
    ("mode", "dest", "status"),
    [
        ("no-cors", "image", 403),
        ("no-cors", "script", 403),
        ("navigate", "iframe", 403),
        ("navigate", "embed", 403),
        ("navigate", "document", 200),
    ],
)
def test_a_foreign_page_can_link_to_us_and_embed_nothing(
    server: TrackingClient, mode: str, dest: str, status: int
) -> None:
    for path in ("/", "/api/v1/runs"):
        answer = server.get(path, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest})
        assert answer.status == status
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_preflight_is_granted(server: TrackingClient) -> None:
    ask = {"Origin": "https://evil.example", "Access-Control-Request-Method": "DELETE"}
    answer = server.request("OPTIONS", "/api/v1/runs/r", None, ask)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


HOST = "Host: 127.0.0.1\r\n"
POST = f"POST /api/v1/ingest HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
SMUGGLED = f"GET /healthz HTTP/1.1\r\n{HOST}\r\n"
MALFORMED = {
    "length and chunks": f"{POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "chunks and length": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "two lengths": f"{POST}Content-Length: 0\r\nContent-Length: 5\r\n\r\n{SMUGGLED}",
    "a negative length": f"{POST}Content-Length: -1\r\n\r\n{SMUGGLED}",
    "a length with a sign": f"{POST}Content-Length: +5\r\n\r\n{SMUGGLED}",
    "an unknown coding": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "chunks are not last": f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "a chunk of 2^68 bytes": f"{POST}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
    "a folded line": f"GET /healthz HTTP/1.1\r\n{HOST}X: a\r\n b\r\n\r\n{SMUGGLED}",
    "a space before the colon": f"POST /api/v1/ingest HTTP/1.1\r\n{HOST}Content-Length : 5\r\n\r\n{SMUGGLED}",
    "NUL in a line": f"GET /healthz HTTP/1.1\r\n{HOST}X: a\0b\r\n\r\n{SMUGGLED}",
    "line feeds alone": "GET /healthz HTTP/1.1\nHost: 127.0.0.1\n\n",
    "no HTTP": "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a proxy's request": "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_ends_the_connection(server: TrackingClient, name: str) -> None:
    answer = exchange(server.port, MALFORMED[name].encode("latin-1"))
    assert (answer.status, answer.answers) == (400, 1), answer.bytes


@pytest.mark.parametrize("lines", [[f"X-{number}: {'a' * 100}" for number in range(10_000)], ["X: " + "a" * 1_000_000]])
def test_a_head_of_a_megabyte_is_not_taken(server: TrackingClient, lines: list[str]) -> None:
    answer = exchange(server.port, head("GET", "/healthz", *lines))
    assert answer.status in (0, 400, 431)
    assert server.get("/healthz").status == 200


def test_a_second_host_of_a_request_is_not_believed(server: TrackingClient) -> None:
    assert exchange(server.port, head("GET", "/api/v1/runs", "Host: evil.example")).status == 403
    assert exchange(server.port, head("GET", "/api/v1/runs", host="evil.example")).status == 403
    assert exchange(server.port, b"GET /api/v1/runs HTTP/1.0\r\n\r\n").status == 403


_UNPACKED = ("/api/v1/ingest", "gzip")  # up to the limit on bodies: see test_server_inflation
_PATHS = ("/api/v1/ingest", "/ingest/metrics", "/api/2.0/mlflow/runs/log-batch", "/files")
_CODINGS = ("gzip", "zstd", "deflate", "br", "gzip, gzip")


@pytest.mark.parametrize(("path", "coding"), [one for one in itertools.product(_PATHS, _CODINGS) if one != _UNPACKED])
def test_a_small_body_never_becomes_a_large_one(server: TrackingClient, path: str, coding: str) -> None:
    bomb = gzip.compress(b"[" + b" " * 10_000_000 + b"]")
    answer = server.request("POST", path, bomb, {**JSON, "Content-Encoding": coding})
    assert (answer.status, b"send it not compressed" in answer.body) == (415, True), answer.body


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_not_taken(flashtrial_home: Path, chunked: bool) -> None:
    with tracking_server(flashtrial_home, max_body_bytes=10_000) as server:
        body = b"x" * 20_000
        with urllib3.HTTPConnectionPool("127.0.0.1", server.port, retries=False) as pool:
            for path in ("/api/v1/ingest", "/ingest/metrics", "/api/2.0/mlflow/runs/log-batch", "/api/v1/heartbeat"):
                answer = pool.request("POST", path, body=iter([body]) if chunked else body, headers=JSON)
                assert answer.status == 413


RANGES = {
    "many": "bytes=" + ",".join(f"{start}-{start}" for start in range(5000)),
    "overlapping": "bytes=" + ",".join("0-" for _ in range(2000)),
    "backwards": "bytes=9-1",
    "beyond": "bytes=99999999999999999999-",
    "huge": "bytes=0-99999999999999999999999",
    "no numbers": "bytes=a-b",
    "another unit": "lines=1-2",
    "many commas": "bytes=" + "," * 20_000,
    "digits": "bytes=" + "9" * 5000 + "-",
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_cost_no_more_than_the_file(server: TrackingClient, mlflow_run: str, name: str) -> None:
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{mlflow_run}/artifacts/ranged.bin"
    content = bytes(10_000)
    assert server.request("PUT", path, content).status == 200
    answer = server.get(path, Range=RANGES[name])
    assert answer.status in (200, 206, 400, 416), answer.status
    assert len(answer.body) <= 200 * len(content)


def test_streams_have_a_number(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home, max_streams=2) as server, server.events() as first, server.events() as second:
        assert next(first)
        assert next(second)
        refused = server.get("/api/v1/events")
        assert (refused.status, refused.json()["error"]) == (503, "too_many_streams")
        assert "Retry-After" in refused.headers
        server.ingest(batch("r", metric(1, {"x": 1.0})))
        assert server.get("/api/v1/runs/r/events").status == 503
        assert server.get("/api/v1/runs/r").status == 200


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingClient]:
    with tracking_server(tmp_path_factory.mktemp("guarded") / "home", token=KEY) as client:
        yield client


def _claims(**other: object) -> dict[str, object]:
    return {"iss": "flashtrial", "jti": "tok_1", "sub": "me", "scope": "read write control", "iat": 1, **other}


def _signed_by(key: str, lasts_s: float | None = None) -> str:
    return tokens.mint(key, Grant("me", frozenset(Scope), lasts_s), SystemClock().time_ms() - 10_000)


def _with_other_claims() -> str:
    """A good token of one scope, its claims replaced."""
    good = tokens.mint(KEY, Grant("me", frozenset({Scope.READ})), SystemClock().time_ms())
    first, _, last = good.split(".")
    return ".".join((first, jwt.encode(_claims(), "", algorithm="none").split(".")[1], last))


BAD_TOKENS = {
    "nothing": "",
    "no algorithm": jwt.encode(_claims(), "", algorithm="none"),
    "signed with the key itself": jwt.encode(_claims(), KEY, algorithm="HS256"),
    "of another home": _signed_by("ft_" + "o" * 43),
    "expired": _signed_by(KEY, lasts_s=5.0),
    "changed claims": _with_other_claims(),
    "another algorithm": jwt.encode(_claims(), KEY * 2, algorithm="HS512"),
    "the key and more": KEY + "x",
    "half of the key": KEY[:20],
    "NUL": KEY + "\0",
    "long": "e" * 60_000,
    "no base64": "a.b.c",
    "deep": jwt.encode({"x": json.loads("[" * 500 + "]" * 500)}, KEY, algorithm="HS256"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/2.0/mlflow/experiments/search", "/api/runs/list"])
def test_a_bad_token_opens_nothing(guarded: TrackingClient, path: str, name: str) -> None:
    line = f"Authorization: Bearer {BAD_TOKENS[name]}"
    answer = exchange(guarded.port, head("GET", path, line))
    assert answer.status in (400, 401, 429), answer.bytes[:300]
    assert KEY.encode() not in answer.bytes


def test_a_token_counts_in_its_header_alone_and_once(guarded: TrackingClient) -> None:
    for path in (f"/api/v1/runs?token={KEY}", f"/api/v1/runs?access_token={KEY}"):
        assert guarded.get(path, Cookie=f"token={KEY}").status in (401, 429)
    line = f"Authorization: Bearer {KEY}"
    assert exchange(guarded.port, head("GET", "/api/v1/runs", line)).status == 200
    twice = head("GET", "/api/v1/runs", line, "Authorization: Bearer other")
    assert exchange(guarded.port, twice).status in (401, 429)


@pytest.mark.parametrize(
    "path", ["//api/v1/runs", "/API/v1/runs", "/api/v1/../v1/runs", "/./api/v1/runs", "/%2fapi/v1/runs"]
)
def test_no_other_spelling_of_a_path_goes_past_the_token(guarded: TrackingClient, path: str) -> None:
    assert exchange(guarded.port, head("GET", path)).status in (401, 404, 429)


def test_the_server_is_whole_after_all_this(server: TrackingClient) -> None:
    results = server.ingest(batch("after", metric(1, {"x": 1.0})))
    assert results[0]["stored"] == 1
    assert server.post(encode_batches([batch("after", metric(1, {"x": 1.0}))])).json()["results"][0]["duplicates"] == 1
