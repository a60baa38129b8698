"""`flashtrial up` as a service: a second port for the dispatcher, TLS, logs as JSON, and an orderly end."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit import free_port, wait_until

from .conftest import Flashtrial

pytestmark = pytest.mark.integration


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-addext", names, "-out", cert, "-keyout", key], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def served(flashtrial_home: Path, certificate: tuple[Path, Path]) -> Iterator[tuple[Flashtrial, int, int, Path]]:
    """An instance with everything on: who it is, its port, the dispatcher's port, the certificate to trust."""
    cli, port, dispatcher = Flashtrial(flashtrial_home), free_port(), free_port()
    options = ["--port", str(port), "--dispatcher-port", str(dispatcher), "--no-runpod", "--access-log"]
    options += ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1]), "--allowed-host", "box.example"]
    started = cli("up", "--detach", *options, FLASHTRIAL_LOG_FORMAT="json")
    assert started.returncode == 0, started.stderr
    yield cli, port, dispatcher, certificate[0]
    cli("down")


def status_of(url: str, trusted: Path, **headers: str) -> int:
    context = ssl.create_default_context(cafile=str(trusted))
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=20, context=context
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def logged_with(variable: str, trusted: Path, url: str, key: dict[str, str], home: Path) -> int:
    """How many points a script's run has at the server of `url`, whose certificate `variable` makes it trust."""
    script = "import flashtrial; run = flashtrial.init(project='tls', run_id='tls'); run.log({'x': 1.0}); run.finish()"
    token = key["Authorization"].partition(" ")[2]
    said = {"FLASHTRIAL_HOME": str(home), "FLASHTRIAL_URL": url, "FLASHTRIAL_TOKEN": token, variable: str(trusted)}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | said, check=False, timeout=50, capture_output=True
    )
    assert ended.returncode == 0, ended.stderr
    context = ssl.create_default_context(cafile=str(trusted))
    request = urllib.request.Request(f"{url}/api/v1/runs/tls/metrics?name=x", headers=key)
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
        return len(json.load(answer)["points"])


def test_an_instance_with_tls_a_dispatcher_and_logs(served: tuple[Flashtrial, int, int, Path]) -> None:
    cli, port, dispatcher, trusted = served
    key = {"Authorization": "Bearer " + (cli.home / "key").read_text().strip()}
    assert status_of(f"https://localhost:{port}/healthz", trusted) == 200
    assert status_of(f"https://localhost:{port}/api/v1/runs", trusted) == 401
    assert status_of(f"https://localhost:{port}/api/v1/runs", trusted, **key) == 200
    assert status_of(f"https://localhost:{port}/api/v1/runs", trusted, Host="box.example", **key) == 200
    assert status_of(f"https://localhost:{port}/api/v1/runs", trusted, Host="evil.example", **key) == 403
    assert status_of(f"https://localhost:{dispatcher}/dispatcher/health-check", trusted, **key) == 200
    assert status_of(f"https://localhost:{dispatcher}/api/v1/runs", trusted, **key) == 404
    assert cli.instance()["url"].startswith("http://127.0.0.1:")  # this machine's own programs need no certificate
    assert cli("status").returncode == 0
    assert logged_with("SSL_CERT_FILE", trusted, f"https://localhost:{port}", key, cli.home.parent / "client") == 1
    lines = [line for line in (cli.home / "logs" / "server.log").read_text().splitlines() if line.startswith("{")]
    requests = [said for said in map(json.loads, lines) if said.get("action") == "request"]
    assert {said["status"] for said in requests} >= {200, 401, 403}
    assert key["Authorization"].partition(" ")[2] not in "".join(lines)


def test_what_is_under_way_is_answered_and_streams_end_when_it_stops(flashtrial_home: Path) -> None:
    cli = Flashtrial(flashtrial_home)
    assert cli("up", "--detach", "--port", str(free_port()), "--no-runpod").returncode == 0
    this = cli.instance()
    body = b'{"run_id":"r","writer_id":"w","seq":1,"kind":"metric","time_ms":1,"body":{"step":1,"values":{"x":1}}}'
    head = "POST /api/v1/ingest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    address = ("127.0.0.1", this["port"])
    with socket.create_connection(address, timeout=30) as stream, socket.create_connection(address, timeout=30) as post:
        stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while b"listening" not in stream.recv(65536):
            pass
        post.sendall(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert post.recv(65536).startswith(b"HTTP/1.1 100")  # so the request is under way
        pid = this["pid"]
        signal.pidfd_send_signal(pidfd := os.pidfd_open(pid), signal.SIGTERM)
        while stream.recv(65536):
            pass
        post.sendall(body)
        answer = post.recv(65536)
        while b"results" not in answer and (more := post.recv(65536)):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"stored":1' in answer
    os.close(pidfd)
    wait_until(lambda: cli("status").returncode != 0, 20, what="the instance to end")
    assert cli("runs", "--json").stdout.count('"id": "r"') == 1


def test_two_halves_of_tls_go_together(flashtrial_home: Path, certificate: tuple[Path, Path]) -> None:
    cli = Flashtrial(flashtrial_home)
    alone = cli("up", "--tls-cert", str(certificate[0]))
    assert alone.returncode != 0
    assert "go together" in alone.stderr
    swapped = cli("up", "--no-runpod", "--tls-cert", str(certificate[1]), "--tls-key", str(certificate[0]))
    assert swapped.returncode == 1
    assert "cannot be used for TLS" in swapped.stderr
