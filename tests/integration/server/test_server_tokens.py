"""Tokens with scopes, limits on rate, and slow clients, against the running server."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flashtrial.cli.environment import KEY_FILE
from flashtrial.cli.main import app
from flashtrial.core.clock import SystemClock
from flashtrial.protocol.records import encode_batches
from flashtrial.server.access import tokens
from flashtrial.server.access.heads import PatientProtocol
from flashtrial.server.access.tokens import Grant, Scope
from testkit.tracking_server import MSGPACK, TrackingClient, batch, metric, tracking_server

pytestmark = pytest.mark.integration

KEY = "ft_" + "k" * 43
BODY = encode_batches([batch("r", metric(1, {"x": 1.0}))])


@pytest.fixture
def guarded(flashtrial_home: Path) -> Iterator[TrackingClient]:
    with tracking_server(flashtrial_home, token=KEY) as server:
        yield server


def _token(home: Path, *scopes: Scope) -> dict[str, str]:
    token = tokens.issue(home, KEY, Grant("box", frozenset(scopes)), SystemClock().time_ms())
    return {"Authorization": f"Bearer {token}"}


def _asks(server: TrackingClient, who: dict[str, str]) -> list[int]:
    """What reading, writing and taking away are answered to whoever shows `who`."""
    return [
        server.request("GET", "/api/v1/runs", b"", who).status,
        server.request("POST", "/api/v1/ingest", BODY, {**who, "Content-Type": MSGPACK}).status,
        server.request("DELETE", "/api/v1/runs/nobody", b"", who).status,
    ]


def test_each_scope_opens_what_it_is_for_and_nothing_else(guarded: TrackingClient, flashtrial_home: Path) -> None:
    assert _asks(guarded, _token(flashtrial_home, Scope.READ)) == [200, 403, 403]
    assert _asks(guarded, _token(flashtrial_home, Scope.WRITE)) == [403, 200, 403]
    assert _asks(guarded, _token(flashtrial_home, Scope.CONTROL)) == [403, 403, 404]
    assert _asks(guarded, {"Authorization": f"Bearer {KEY}"}) == [200, 200, 404]


def test_a_refusal_names_the_holder_and_what_is_needed(guarded: TrackingClient, flashtrial_home: Path) -> None:
    answer = guarded.request("GET", "/api/v1/runs", b"", _token(flashtrial_home, Scope.WRITE))
    assert answer.json() == {
        "error": "wrong_scope",
        "message": "this token (box) is good for write; this needs read",
    }


def test_a_token_is_refused_from_the_moment_that_it_is_revoked(guarded: TrackingClient, flashtrial_home: Path) -> None:
    who = _token(flashtrial_home, Scope.READ)
    assert guarded.request("GET", "/api/v1/runs", b"", who).status == 200
    (listed,) = tokens.issued(flashtrial_home)
    tokens.revoke(flashtrial_home, listed.id, SystemClock().time_ms())
    answer = guarded.request("GET", "/api/v1/runs", b"", who)
    assert (answer.status, answer.json()["message"]) == (401, "this token was revoked")


def test_a_damaged_list_lets_the_key_in_and_no_token(guarded: TrackingClient, flashtrial_home: Path) -> None:
    who = _token(flashtrial_home, Scope.READ)
    (flashtrial_home / tokens.FILE).write_text("{")
    assert guarded.request("GET", "/api/v1/runs", b"", who).status == 401
    assert guarded.request("GET", "/api/v1/runs", b"", {"Authorization": f"Bearer {KEY}"}).status == 200


def test_who_asks_too_often_hears_when_to_come_back(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home, token=KEY, requests_per_s=0.01, requests_at_once=3.0) as server:
        who = {"Authorization": f"Bearer {KEY}"}
        answers = [server.request("GET", "/api/v1/runs", b"", who) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert 90 <= int(answers[-1].headers["Retry-After"]) <= 100
        assert server.get("/healthz").status == 200


def test_who_guesses_tokens_is_slowed_down_and_the_holder_of_one_is_not(guarded: TrackingClient) -> None:
    guesses = [guarded.get("/api/v1/runs", Authorization=f"Bearer {number}").status for number in range(40)]
    assert guesses[0] == 401
    assert guesses[-1] == 429
    assert guarded.get("/api/v1/runs", Authorization=f"Bearer {KEY}").status == 200


def test_a_body_that_does_not_come_is_not_waited_for(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home, body_patience_s=0.2) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"POST /api/v1/ingest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {MSGPACK}\r\n"
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\nx".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"send it again" in answer
        assert server.post(BODY).status == 200


class _HastyProtocol(PatientProtocol):
    patience_s = 0.2


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HT"])
def test_a_head_that_does_not_come_is_not_waited_for(flashtrial_home: Path, begun: bytes) -> None:
    with tracking_server(flashtrial_home, http=_HastyProtocol) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(begun)
            while connection.recv(65536):
                pass
        assert server.get("/healthz").status == 200


def _told(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["token", *words])
    return result.exit_code, result.output


def test_tokens_of_the_command_line_open_what_they_say(guarded: TrackingClient, flashtrial_home: Path) -> None:
    (flashtrial_home / KEY_FILE).write_text(KEY)
    code, token = _told("create", "alice's box", "--scope", "read", "--expires", "never")
    assert code == 0
    who = {"Authorization": f"Bearer {token.strip()}"}
    assert _asks(guarded, who) == [200, 403, 403]
    code, lines = _told("list")
    assert (code, lines.count("good until revoked"), lines.count("alice's box")) == (0, 1, 1)
    assert token.strip() not in lines
    assert _told("revoke", lines.split()[0])[0] == 0
    assert _asks(guarded, who)[0] == 401


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", ""], "1 to 100 printable characters"),
        (["create", "two\nlines"], "1 to 100 printable characters"),
        (["create", "\x1b[31mred"], "1 to 100 printable characters"),
        (["create", "a", "--expires", ""], "90d, 8w or never"),
        (["create", "a", "--expires", "0d"], "90d, 8w or never"),
        (["create", "a", "--scope", "admin"], "read, write, control"),
        (["revoke", "tok_nobody"], "`flashtrial token list` shows them"),
    ],
    ids=lambda value: ascii(value)[:40] if isinstance(value, list) else None,
)
def test_what_no_token_can_be_is_said_in_a_line(flashtrial_home: Path, words: list[str], said: str) -> None:
    flashtrial_home.mkdir()
    (flashtrial_home / KEY_FILE).write_text(KEY)
    code, output = _told(*words)
    assert code == 1
    assert output.startswith("flashtrial: ")
    assert said in output
    assert tokens.issued(flashtrial_home) == []


def test_without_a_home_there_is_nothing_to_revoke(flashtrial_home: Path) -> None:
    code, output = _told("revoke", "tok_1")
    assert (code, output.startswith(f"flashtrial: there is no home {flashtrial_home}:")) == (1, True)


def test_no_token_stands_in_a_log_an_answer_a_count_or_a_file(
    flashtrial_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where a client puts it into an address, which is no place for it and opens nothing."""
    caplog.set_level(logging.DEBUG)
    with tracking_server(flashtrial_home, token=KEY, access_log=True) as server:
        token = _token(flashtrial_home, Scope.WRITE)["Authorization"].removeprefix("Bearer ")
        answers = []
        for secret in (KEY, token):
            asked = f"/api/v1/runs?token={secret}&filter={secret}"
            for who in ({}, {"Authorization": f"Basic {secret}"}, {"Authorization": f"Bearer {secret}"}):
                answers += [server.request("GET", asked, b"", who), server.request("GET", "/nothing", b"", who)]
        answers += [server.get(path) for path in ("/metrics", "/healthz", "/readyz")]
    assert {answer.status for answer in answers} >= {200, 401, 403, 404}
    ours = (record for record in caplog.records if not record.name.startswith("urllib3"))  # which is the client here
    told = [f"{record.getMessage()} {record.__dict__}" for record in ours]
    assert any("/api/v1/runs" in line for line in told if "'action': 'request'" in line)
    kept = [path.read_bytes() for path in flashtrial_home.rglob("*") if path.is_file()]
    for text in [*(answer.body for answer in answers), *map(str.encode, told), *kept]:
        assert KEY.encode() not in text
        assert token.encode() not in text
