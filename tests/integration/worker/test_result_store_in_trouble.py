"""Results that are too large for an answer, for a tracking server that is slow, full, closed, or says to come later."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flashtrial.testing.job_platform import job_platform
from flashtrial.tracking.settings.address import Address
from flashtrial.worker.loop.server_results import ServerResults, StoreUnusable

from .loop_process import CALL_S, function, loop_worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

Answer = tuple[int, dict[str, str], object]
LARGE = "def f():\n    return 'x' * 30_000\n"


@contextmanager
def answering(*answers: Answer) -> Iterator[Address]:
    """A server that gives these answers, the last one for ever."""
    left = list(answers)

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield Address(f"http://127.0.0.1:{server.server_port}", None)
        finally:
            server.shutdown()
            serving.join()


@contextmanager
def deaf() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", server


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "no token"), (403, "not yours"), (507, "no room"), (413, "too large"), (500, "broken")],
)
def test_a_server_that_refuses_is_told_with_its_reason(status: int, message: str) -> None:
    refusal: Answer = (status, {}, {"error": "e", "message": message})
    with answering(refusal) as address, pytest.raises(StoreUnusable, match=f"HTTP {status}: {message}"):
        ServerResults(lambda: address).put("job", b"x")


def test_a_server_that_wants_us_back_in_two_hours_is_not_waited_for() -> None:
    later = (503, {"Retry-After": "7200"}, {"error": "busy", "message": "later"})
    with answering(later) as address, pytest.raises(StoreUnusable, match="later"):
        ServerResults(lambda: address).put("job", b"x")


def test_a_server_that_is_busy_for_a_moment_gets_the_result() -> None:
    busy = (503, {"Retry-After": "1"}, {"error": "busy", "message": "later"})
    whole = {"received": 1, "is_complete": True, "chunk": 1}
    with answering(busy, (200, {}, whole)) as address:
        assert ServerResults(lambda: address).put("job", b"x")["bytes"] == 1


def test_a_worker_that_is_told_to_leave_while_it_brings_a_result_leaves_in_time(flashtrial_home: Path) -> None:
    with (
        deaf() as (url, server),
        job_platform() as platform,
        loop_worker(
            platform, flashtrial_home, FLASHTRIAL_DRAIN_S="6", FLASHTRIAL_MAX_RESULT_BYTES="20000", FLASHTRIAL_URL=url
        ) as worker,
    ):
        worker.wait_for_polls()
        platform.submit("job-1", function(LARGE))
        server.settimeout(CALL_S)
        with server.accept()[0]:
            worker.signal(signal.SIGTERM)
            answer = worker.answer("job-1")
            assert "told to leave" in str(answer)
            assert worker.exit_code() == 0
