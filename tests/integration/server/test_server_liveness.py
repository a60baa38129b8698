"""Runs whose writers are gone or silent, through HTTP and with a clock that the test moves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flashtrial.protocol.records import encode_batches
from flashtrial.server.ingest_body import ParsedBatch, parse_msgpack
from flashtrial.server.liveness import Beat, Role
from flashtrial.server.repository import Repository
from flashtrial.server.storage.heartbeats import WriterSight
from flashtrial.server.views import read_run
from flashtrial.testing.clock import FakeClock
from testkit.tracking_server import TrackingClient, batch, metric, state, tracking_server
from testkit.waiting import wait_until

WAIT_S = 20


def _beat(server: TrackingClient, *writers: dict[str, Any], host: str = "gpu-1") -> int:
    body = json.dumps({"host": host, "every_s": 15, "writers": writers}).encode()
    return server.request("POST", "/api/v1/heartbeat", body, {"Content-Type": "application/json"}).status


def _stands(server: TrackingClient, run_id: str = "r") -> tuple[str, str | None]:
    run = server.get(f"/api/v1/runs/{run_id}").json()
    return run["status"], run["reason"]


def _writer(state: str, **more: object) -> dict[str, Any]:
    return {"run_id": "r", "writer_id": "w1", "role": "owner", "state": state, "last_seq": 1, "facts": {}, **more}


def test_an_owner_that_is_gone_interrupts_its_run_and_a_record_brings_it_back(server: TrackingClient) -> None:
    server.ingest(batch("r", state(1, "running")))
    assert _beat(server, _writer("alive")) == 200
    assert _stands(server) == ("running", None)
    for _ in range(2):
        assert _beat(server, _writer("gone", reason="process 4711 was killed")) == 200
        assert _stands(server) == ("interrupted", "process 4711 was killed")
    assert server.get("/api/v1/runs?status=interrupted").json()["runs"][0]["id"] == "r"
    server.ingest(batch("r", state(1, "running")))  # a repetition is no sign of life
    assert _stands(server)[0] == "interrupted"
    server.ingest(batch("r", metric(2, {"x": 1})))
    assert _stands(server) == ("running", None)


def test_guests_and_copies_end_no_run_and_a_new_owner_goes_on(server: TrackingClient) -> None:
    server.ingest(batch("r", state(1, "running")), batch("r", state(1, "running", guest=True), writer_id="g"))
    _beat(server, _writer("alive"), _writer("gone", writer_id="g", role="guest"))
    assert _stands(server) == ("running", None)
    _beat(server, _writer("gone"), _writer("alive", writer_id="g", role="guest"))
    assert _stands(server)[0] == "interrupted"
    server.ingest(batch("r", state(9, "running", resumed=True), writer_id="w2"))
    assert _stands(server) == ("running", None)
    server.ingest(batch("r", state(10, "finished"), writer_id="w2"))
    _beat(server, _writer("gone", writer_id="w2", ended=True))
    assert _stands(server) == ("finished", None)


def test_a_run_that_only_guests_opened_ends_with_the_last_of_them(server: TrackingClient) -> None:
    guests = ("g1", "g2")
    server.ingest(*(batch("r", state(1, "running", guest=True), writer_id=guest) for guest in guests))
    server.ingest(batch("r", state(2, "failed", guest=True, reason="boom"), writer_id="g1"))
    server.ingest(batch("r", state(2, "finished", guest=True), writer_id="g2"))
    assert _stands(server) == ("failed", "boom")
    server.ingest(batch("r", state(3, "running"), writer_id="owner"))
    assert _stands(server)[0] == "running"


def test_a_run_of_guests_that_died_is_interrupted(server: TrackingClient) -> None:
    server.ingest(batch("r", state(1, "running", guest=True), writer_id="g1"))
    server.ingest(batch("r", state(1, "running", guest=True), writer_id="g2"))
    server.ingest(batch("r", state(2, "finished", guest=True), writer_id="g2"))
    assert _stands(server)[0] == "running"
    _beat(server, _writer("gone", writer_id="g1", role="guest"), _writer("gone", writer_id="g2", role="guest"))
    assert _stands(server)[0] == "interrupted"


def test_heartbeats_of_the_unknown_change_nothing_and_bad_ones_are_told_so(server: TrackingClient) -> None:
    assert _beat(server, _writer("alive", run_id="unknown")) == 200
    assert server.get("/api/v1/runs/unknown").status == 404
    assert _beat(server, _writer("asleep")) == 422


def test_the_servers_own_task_marks_silent_runs(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home, silent_after_s=0.5) as server:
        server.ingest(batch("r", state(1, "running")))
        _beat(server, _writer("alive"))
        status, reason = wait_until(
            lambda: (now := _stands(server))[0] == "interrupted" and now, what="the reaper"
        ) or (
            "",
            None,
        )
        assert (status, str(reason)[:29]) == ("interrupted", "nothing was heard of gpu-1 si")
        _beat(server, _writer("alive"))
        assert _stands(server)[0] == "running"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def repository(flashtrial_home: Path, clock: FakeClock) -> Iterator[Repository]:
    standing = Repository(flashtrial_home / "server.db", clock, lambda _: None, silent_after_s=180)
    standing.start()
    yield standing
    standing.stop()


def _ingest(repository: Repository, *frames: bytes) -> None:
    repository.ingest(parse_msgpack(encode_batches([batch("r", *frames)])).batches).result(WAIT_S)


def test_silence_is_told_by_the_servers_clock_alone(
    repository: Repository, clock: FakeClock, flashtrial_home: Path
) -> None:
    def status() -> str:
        run = read_run(flashtrial_home / "server.db", "r")
        assert run is not None
        return run["status"]

    _ingest(repository, state(1, "running"))
    repository.hear([WriterSight("r", "w1", Role.OWNER, Beat.ALIVE)]).result(WAIT_S)
    clock.advance(179)
    assert repository.reap().result(WAIT_S) == []
    clock.advance(2)
    assert repository.reap().result(WAIT_S) == ["r"]
    assert (status(), repository.reap().result(WAIT_S)) == ("interrupted", [])
    _ingest(repository, metric(2, {"x": 1}, time_ms=5))
    assert status() == "running"


def test_a_client_without_heartbeats_is_given_an_hour_and_comes_back_with_any_word(
    repository: Repository, clock: FakeClock, flashtrial_home: Path
) -> None:
    def stands() -> tuple[str, str | None]:
        run = read_run(flashtrial_home / "server.db", "r")
        assert run is not None
        return run["status"], run["reason"]

    def say_nothing_new() -> None:
        repository.ingest([ParsedBatch("r", "w1", ())]).result(WAIT_S)

    clock.advance(3601)  # the server is no longer young
    _ingest(repository, state(1, "running", host="box"))
    clock.advance(3599)
    assert (repository.reap().result(WAIT_S), stands()) == ([], ("running", None))
    say_nothing_new()
    clock.advance(3599)
    assert repository.reap().result(WAIT_S) == []
    clock.advance(2)
    assert repository.reap().result(WAIT_S) == ["r"]
    assert (stands()[0], str(stands()[1])[:25]) == ("interrupted", "nothing was heard of box ")
    assert repository.reap().result(WAIT_S) == []
    say_nothing_new()
    assert stands() == ("running", None)
    clock.advance(3601)
    assert repository.reap().result(WAIT_S) == ["r"]
    _ingest(repository, metric(2, {"x": 1}))
    assert stands() == ("running", None)


def test_a_server_that_was_away_gives_everybody_time_to_be_heard(
    repository: Repository, clock: FakeClock, flashtrial_home: Path
) -> None:
    _ingest(repository, state(1, "running"))
    repository.hear([WriterSight("r", "w1", Role.OWNER, Beat.ALIVE)]).result(WAIT_S)
    repository.stop()
    clock.advance(3600)
    later = Repository(flashtrial_home / "server.db", clock, lambda _: None, silent_after_s=180)
    later.start()
    try:
        assert later.reap().result(WAIT_S) == []
        clock.advance(181)
        assert later.reap().result(WAIT_S) == ["r"]
    finally:
        later.stop()
