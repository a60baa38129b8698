"""`flashtrial login` and `logout` as commands: where the token comes from, where it goes, and who is shown it."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SECRET = "s3cret-token"

# A keyring of the test's own, in a file: what the library asks for, in the plainest way.
KEYRING = """
import json, os, pathlib
from keyring.backend import KeyringBackend
class Keyring(KeyringBackend):
    priority = 1
    path = pathlib.Path(os.environ["TEST_KEYRING"])
    def _read(self): return json.loads(self.path.read_text()) if self.path.exists() else {}
    def set_password(self, service, name, secret): self.path.write_text(json.dumps({**self._read(), name: secret}))
    def get_password(self, service, name): return self._read().get(name)
    def delete_password(self, service, name):
        self.path.write_text(json.dumps({key: value for key, value in self._read().items() if key != name}))
"""


class Guarded:
    """A server that takes one token."""

    def __init__(self) -> None:
        self.shown: list[str | None] = []
        guarded = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.headers["Authorization"]
                guarded.shown.append(token)
                self.send_response(200 if token == f"Bearer {SECRET}" else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "Guarded":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Guarded]:
    with Guarded() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def flashtrial(
    home: Path, *arguments: str, stdin: str = "", code: int = 0, given: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    own = {"FLASHTRIAL_HOME": str(home), "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    done = subprocess.run(
        [sys.executable, "-m", "flashtrial.cli", *arguments],
        env={**os.environ, **own, **(given or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert done.returncode == code, done
    return done


def kept(home: Path) -> dict[str, object]:
    fields: dict[str, object] = json.loads((home / "credentials.json").read_bytes())
    return fields


@pytest.mark.parametrize(
    ("arguments", "stdin", "given"),
    [
        ((), f"{SECRET}\n", {}),
        (("-",), f"{SECRET}\n", {"FLASHTRIAL_TOKEN": "another"}),
        ((), "", {"FLASHTRIAL_TOKEN": SECRET}),
        ((), "", {"PLUTO_API_KEY": SECRET, "MLOP_API_TOKEN": "another", "FLASHTRIAL_TOKEN": SECRET}),
    ],
)
def test_a_token_is_checked_and_kept_in_a_file_of_the_users_own(
    home: Path, server: Guarded, arguments: tuple[str, ...], stdin: str, given: dict[str, str]
) -> None:
    done = flashtrial(home, "login", *arguments, "--url", server.url, stdin=stdin, given=given)
    assert f"logged in to {server.url}" in done.stdout
    assert server.shown == [f"Bearer {SECRET}"]
    assert kept(home) == {"url": server.url, "tokens": {server.url: SECRET}}
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    assert SECRET not in done.stdout + done.stderr


def test_a_token_as_an_argument_is_warned_of(home: Path, server: Guarded) -> None:
    done = flashtrial(home, "login", SECRET, "--url", server.url)
    assert "seen by others" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_token_that_the_server_refuses_is_not_kept(home: Path, server: Guarded) -> None:
    done = flashtrial(home, "login", "--url", server.url, stdin="wrong\n", code=1)
    assert "refuses the token" in done.stderr
    assert "wrong" not in done.stderr
    assert not (home / "credentials.json").exists()


def test_a_server_that_is_away_is_believed_and_that_is_said(home: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        done = flashtrial(home, "login", "--url", url, stdin=f"{SECRET}\n")
    assert "nobody knows whether it is right" in done.stdout


def test_an_address_without_encryption_is_warned_of_before_the_token_is_sent(home: Path) -> None:
    done = flashtrial(home, "login", "--url", "http://flashtrial.invalid", stdin=f"{SECRET}\n")
    assert "is not encrypted" in done.stderr


def test_without_any_token_the_answer_says_what_to_do(home: Path, server: Guarded) -> None:
    done = flashtrial(home, "login", "--url", server.url, code=1)
    assert "one word" in done.stderr
    assert server.shown == []


def test_logging_out_forgets_one_address_or_all(home: Path, server: Guarded) -> None:
    flashtrial(home, "login", "--url", server.url, stdin=f"{SECRET}\n")
    with Guarded() as other:
        flashtrial(home, "login", "--url", other.url, stdin=f"{SECRET}\n")
        assert f"logged out of {other.url}" in flashtrial(home, "logout", "--url", other.url).stdout
    assert kept(home) == {"url": None, "tokens": {server.url: SECRET}}
    flashtrial(home, "logout")
    assert kept(home) == {"url": None, "tokens": {}}
    assert "no login" in flashtrial(home, "logout").stdout


def test_the_systems_keyring_has_the_token_where_there_is_one(home: Path, server: Guarded, tmp_path: Path) -> None:
    pytest.importorskip("keyring")
    (tmp_path / "test_own_keyring.py").write_text(KEYRING, encoding="utf-8")
    ring = {
        "PYTHON_KEYRING_BACKEND": "test_own_keyring.Keyring",
        "TEST_KEYRING": str(tmp_path / "ring.json"),
        "PYTHONPATH": str(tmp_path),
    }
    done = flashtrial(home, "login", "--url", server.url, stdin=f"{SECRET}\n", given=ring)
    assert "keyring" in done.stdout
    assert kept(home) == {"url": server.url, "tokens": {server.url: None}}
    assert json.loads((tmp_path / "ring.json").read_text()) == {server.url: SECRET}
    flashtrial(home, "logout", given=ring)
    assert json.loads((tmp_path / "ring.json").read_text()) == {}
