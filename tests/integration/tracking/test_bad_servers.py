"""Servers, and what stands before them, that answer late, badly, or not at all: every record arrives, once."""

import contextlib
import itertools
import socket
import struct
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import pytest

from flashtrial.tracking.journal.progress import read_status
from testkit import wait_until
from testkit.tracking_server import TrackingClient, tracking_server

from .conftest import TIMEOUT_S, Lab, StandIn

pytestmark = pytest.mark.integration

LOGS = """
import flashtrial, os, time
run = flashtrial.init(run_id="run_1", resume=False)
for number in range(300): run.log({"x": float(number)}, step=number)
print("half", flush=True)
while not os.path.exists(os.environ["GO_ON"]): time.sleep(0.01)
for number in range(300, 600): run.log({"x": float(number)}, step=number)
report = run.finish(timeout_s=0)
print(report.sent + report.pending, report.lost, report.outage)
"""
ALL = list(range(1, 603))  # with the states at both ends


def logs_all(lab: Lab, stand_in: StandIn) -> None:
    """A run of 600 calls in one go, each record of which arrives once."""
    lab.url = stand_in.url
    ended = lab.run(LOGS, GO_ON="/")
    assert ended.output.startswith("half\n602 0 "), ended
    everything_is_there(lab, stand_in)


def everything_is_there(lab: Lab, stand_in: StandIn) -> None:
    lab.wait_until_synced()
    assert sorted(seq for _, _, seq in stand_in.backend.stored) == ALL


def reset(request: BaseHTTPRequestHandler) -> None:
    """The peer sees an error, and no end of the connection."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    request.close_connection = True


def respond(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    request.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


def body_of(request: BaseHTTPRequestHandler) -> bytes:
    return request.rfile.read(int(request.headers["Content-Length"]))


def test_a_server_that_is_gone_in_the_middle_of_a_run_has_all_of_it_when_it_comes_again(
    lab: Lab, tmp_path: Path, port: int
) -> None:
    go_on = tmp_path / "go-on"
    lab.url = f"http://127.0.0.1:{port}"
    with tracking_server(tmp_path / "server", port=port) as server:
        trainer = lab.start(LOGS, GO_ON=str(go_on))
        wait_until(lambda: count(server) == 300, TIMEOUT_S, "the first half")
    go_on.touch()
    wait_until(lambda: (status := read_status(lab.outbox)) and status.outage, TIMEOUT_S, "the outage to be noticed")
    with tracking_server(tmp_path / "server", port=port) as server:
        output, errors = trainer.communicate(timeout=TIMEOUT_S)
        assert output.startswith("half\n602 0 "), errors
        lab.wait_until_synced()
        assert [point[0] for point in server.points("run_1", "x")] == list(range(600))
        assert server.get("/api/v1/runs/run_1").json()["status"] == "finished"


def count(server: TrackingClient) -> int:
    answer = server.get("/api/v1/runs/run_1")
    return answer.json()["points"].get("x", 0) if answer.status == 200 else 0


def test_a_server_that_flaps_doubles_nothing(lab: Lab) -> None:
    """Of four requests one is answered; one is refused, one is cut off, one is taken without a word of it."""
    turns = itertools.cycle(["refused", "cut off", "untold", "answered"])

    def flap(request: BaseHTTPRequestHandler) -> bool:
        match next(turns):
            case "refused":
                body_of(request)
                respond(request, 503, b"")
            case "cut off":
                reset(request)
            case "untold":
                stand_in.answer(body_of(request))
                reset(request)
            case _:
                return False
        return True

    with StandIn() as stand_in:
        stand_in.whim = flap
        logs_all(lab, stand_in)


def test_an_answer_that_breaks_off_in_its_middle_is_asked_for_again_and_nothing_is_stored_twice(lab: Lab) -> None:
    cuts = iter([1, 20, 40])

    def break_off(request: BaseHTTPRequestHandler) -> bool:
        if (cut := next(cuts, None)) is None:
            return False
        _, _, answer = stand_in.answer(body_of(request))
        request.send_response(200)
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer[:cut])
        reset(request)
        return True

    with StandIn() as stand_in:
        stand_in.whim = break_off
        logs_all(lab, stand_in)
    assert next(cuts, None) is None


def test_a_server_that_has_not_answered_yet_holds_up_no_call_of_log(lab: Lab, tmp_path: Path) -> None:
    """It sends its answer in two halves, the second only when the trainer has logged everything."""
    go_on, has_begun, logged = tmp_path / "go-on", Event(), Event()

    def dawdle(request: BaseHTTPRequestHandler) -> bool:
        _, _, answer = stand_in.answer(body_of(request))
        request.send_response(200)
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer[:5])
        request.wfile.flush()
        has_begun.set()
        logged.wait(TIMEOUT_S)
        with contextlib.suppress(OSError):
            request.wfile.write(answer[5:])
        return True

    with StandIn() as stand_in:
        stand_in.whim = dawdle
        lab.url = stand_in.url
        trainer = lab.start(LOGS, GO_ON=str(go_on))
        try:
            assert has_begun.wait(TIMEOUT_S)
            go_on.touch()
            output, errors = trainer.communicate(timeout=TIMEOUT_S)
        finally:
            logged.set()
        assert output == "half\n602 0 None\n", errors
        everything_is_there(lab, stand_in)


def test_a_storm_of_429s_is_waited_out(lab: Lab) -> None:
    with StandIn() as stand_in:
        stand_in.faults = [(429, {"Retry-After": "0"}, b"<html>slow down</html>")] * 15
        logs_all(lab, stand_in)
        assert not stand_in.faults


def test_a_proxy_that_takes_small_bodies_only_gets_small_ones(lab: Lab) -> None:
    """It answers as soon as it has read the heads, and hangs up."""
    refused: list[int] = []

    def refuse(request: BaseHTTPRequestHandler) -> bool:
        if (size_bytes := int(request.headers["Content-Length"])) <= 4096:
            return False
        refused.append(size_bytes)
        respond(request, 413, b"<html>413 Request Entity Too Large</html>", Content_Type="text/html")
        body_of(request)
        request.close_connection = True
        return True

    with StandIn() as stand_in:
        stand_in.whim = refuse
        logs_all(lab, stand_in)
    assert refused


def test_a_page_to_sign_in_that_is_answered_to_everything_is_no_receipt(lab: Lab, tmp_path: Path) -> None:
    """As networks of hotels do: 200, and HTML."""
    go_on = tmp_path / "go-on"
    with StandIn() as stand_in:
        stand_in.faults = [(200, {"Content-Type": "text/html"}, b"<html>sign in</html>")] * 1000
        lab.url = stand_in.url
        trainer = lab.start(LOGS, GO_ON=str(go_on))
        wait_until(lambda: (status := read_status(lab.outbox)) and status.outage, TIMEOUT_S, "it to be noticed")
        go_on.touch()
        output, errors = trainer.communicate(timeout=TIMEOUT_S)
        assert output.startswith("half\n602 0 "), errors
        assert "is another program on that port?" in output
        assert not stand_in.backend.stored
        stand_in.faults = []
        everything_is_there(lab, stand_in)
