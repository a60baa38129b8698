"""Curves of runs: attempts, resumptions, forks and ranks, read through HTTP from tails and blocks."""

import itertools
import random
import time
from pathlib import Path

from flashtrial.core import sqlite
from flashtrial.protocol.records import encode_batches, encode_record
from testkit.tracking_server import TrackingClient, batch, metric, state
from testkit.waiting import wait_until


def _steps(server: TrackingClient, run_id: str, name: str = "x") -> list[int]:
    return [step for step, *_ in server.points(run_id, name)]


def _attempts(server: TrackingClient, run_id: str, name: str = "x") -> list[tuple[str, list[int]]]:
    answer = server.get(f"/api/v1/runs/{run_id}/metrics?name={name}&attempts=all").json()
    assert [each["attempt"] for each in answer["attempts"]] == list(range(1, len(answer["attempts"]) + 1))
    return [(each["writer_id"], [step for step, *_ in each["points"]]) for each in answer["attempts"]]


def test_steps_that_go_back_begin_a_new_attempt_of_the_same_curve(server: TrackingClient) -> None:
    steps = [0, 1, 2, 3, 4, 2, 3]
    server.ingest(batch("r", *(metric(seq, {"x": float(seq)}, step=step) for seq, step in enumerate(steps, 1))))
    assert [[step, value] for step, _, value in server.points("r", "x")] == [[0, 1.0], [1, 2.0], [2, 6.0], [3, 7.0]]
    assert _attempts(server, "r") == [("w1", [0, 1, 2, 3, 4]), ("w1", [2, 3])]
    assert server.get("/api/v1/runs/r").json()["points"] == {"x": 7}


def test_steps_that_begin_anew_in_each_epoch_are_all_seen(server: TrackingClient) -> None:
    steps = [0, 1, 2, 0, 1, 2, 1, 2]  # the third time, after two epochs, from a checkpoint at step 1
    server.ingest(batch("r", *(metric(seq, {"x": float(seq)}, step=step) for seq, step in enumerate(steps, 1))))
    shown = [[step, value] for step, _, value in server.points("r", "x")]
    assert shown == [[0, 1.0], [0, 4.0], [1, 2.0], [1, 7.0], [2, 3.0], [2, 8.0]]
    assert [steps for _, steps in _attempts(server, "r")] == [[0, 1, 2], [0, 1, 2], [1, 2]]


def test_who_goes_on_elsewhere_with_a_clock_behind_still_comes_later(server: TrackingClient) -> None:
    def send(*records: bytes, writer_id: str, behind_ms: int) -> None:
        sent_ms = int(time.time() * 1000) - behind_ms
        body = encode_batches([batch("r", *records, writer_id=writer_id)])
        headers = {"Content-Type": "application/msgpack", "Flashtrial-Sent-Ms": str(sent_ms)}
        assert server.request("POST", "/api/v1/ingest", body, headers).status == 200

    now_ms, hour_ms = int(time.time() * 1000), 3_600_000
    first = [encode_record(1, "state", now_ms, {"status": "interrupted"})]
    first += [metric(seq, {"x": 0.0}, step=seq, time_ms=now_ms) for seq in range(2, 6)]
    then_ms = now_ms + 1 - hour_ms
    again = [encode_record(1, "state", then_ms, {"status": "running", "resumed": True})]
    again += [metric(seq, {"x": 1.0}, step=seq + 2, time_ms=then_ms) for seq in range(2, 6)]
    send(*first, writer_id="w1", behind_ms=0)
    send(*again, writer_id="w2", behind_ms=hour_ms)
    assert [[step, value] for step, _, value in server.points("r", "x")] == [
        [2, 0.0],
        [3, 0.0],
        *([step, 1.0] for step in range(4, 8)),
    ]
    run = server.get("/api/v1/runs/r").json()
    assert (run["status"], run["summary"]) == ("running", {"x": 1.0})


def test_the_order_of_arrival_makes_no_attempts(server: TrackingClient) -> None:
    frames = [metric(seq, {"x": 1.0}, step=seq) for seq in range(1, 10)]
    for number, order in enumerate(itertools.permutations(range(3))):
        for place in order:
            server.ingest(batch(f"r{number}", *frames[3 * place : 3 * place + 3]))
        assert _attempts(server, f"r{number}") == [("w1", list(range(1, 10)))]


def test_ranks_are_no_attempts_of_each_other(server: TrackingClient) -> None:
    server.ingest(batch("r", *(metric(seq, {"x": 0.0}, step=seq) for seq in (5, 6)), writer_id="rank0"))
    server.ingest(batch("r", *(metric(seq, {"x": 1.0}, step=seq) for seq in (1, 2)), writer_id="rank1"))
    assert _steps(server, "r") == [1, 2, 5, 6]


def test_an_owner_that_goes_on_with_a_run_takes_the_place_of_what_came_after(server: TrackingClient) -> None:
    first = [state(1, "running"), *(metric(seq, {"x": 0.0}, step=seq) for seq in range(2, 10))]
    again = [
        state(20, "running", resumed=True),
        *(metric(seq, {"x": 1.0}, step=seq - 16) for seq in range(21, 24)),
    ]
    server.ingest(batch("r", *again, writer_id="w2"))  # arrives first
    server.ingest(batch("r", *first, writer_id="w1"))
    assert [[step, value] for step, _, value in server.points("r", "x")] == [
        *([step, 0.0] for step in (2, 3, 4)),
        *([step, 1.0] for step in (5, 6, 7)),
    ]
    assert _attempts(server, "r") == [("w1", list(range(2, 10))), ("w2", [5, 6, 7])]


def test_a_rank_that_opened_before_the_owner_did_is_of_its_generation(server: TrackingClient) -> None:
    server.ingest(batch("r", *(metric(seq, {"x": 1.0}, step=seq) for seq in range(1, 6)), writer_id="rank1"))
    opened = state(2, "running", resumed=True)
    server.ingest(batch("r", opened, *(metric(seq, {"x": 0.0}, step=seq) for seq in range(3, 6)), writer_id="rank0"))
    assert _steps(server, "r") == [1, 2, 3, 3, 4, 4, 5, 5]


def test_a_forked_run_begins_with_the_curve_of_its_parent(server: TrackingClient) -> None:
    opened = state(1, "running", config={"lr": 1, "kept": 2}, tags=["a"])
    server.ingest(batch("parent", opened, *(metric(seq, {"x": 0.0, "y": 0.0}, step=seq) for seq in range(2, 9))))
    fork = {"run_id": "parent", "step": 5, "inherit_config": True, "inherit_tags": True}
    frames = [
        state(1, "running", fork=fork, config={"lr": 9}),
        *(metric(seq, {"x": 1.0}, step=seq + 3) for seq in (2, 3)),
    ]
    server.ingest(batch("child", *frames))
    points = [[step, value] for step, _, value in server.points("child", "x")]
    assert points == [[2, 0.0], [3, 0.0], [4, 0.0], [5, 1.0], [6, 1.0]]
    assert _steps(server, "child", "y") == [2, 3, 4, 5]
    child = server.get("/api/v1/runs/child").json()
    assert (child["config"], child["tags"], child["points"]) == ({"lr": 9, "kept": 2}, ["a"], {"x": 2})
    assert child["fork"] == {"run_id": "parent", "step": 5}
    assert server.get("/api/v1/runs/child/metric-names").json()["names"] == ["x", "y"]


def test_runs_that_were_forked_from_each_other_end_somewhere(server: TrackingClient) -> None:
    for run_id, parent in (("a", "b"), ("b", "a")):
        server.ingest(batch(run_id, state(1, "running", fork={"run_id": parent}), metric(2, {"x": 1.0})))
    assert _steps(server, "a") == [2]


def test_late_points_fall_into_the_blocks_they_belong_to(server: TrackingClient, flashtrial_home: Path) -> None:
    total = 12_000
    frames = [metric(seq, {"x": float(seq % 97)}, step=seq) for seq in range(1, total + 1)]
    pieces = [frames[start : start + 500] for start in range(0, total, 500)]
    random.Random(3).shuffle(pieces)
    for piece in pieces:
        server.ingest(batch("r", *piece))
        assert len(_attempts(server, "r")) == 1
    server.ingest(batch("r", state(total + 1, "finished")))
    assert server.points("r", "x") == [[seq, 1000 * seq, float(seq % 97)] for seq in range(1, total + 1)]

    def open_points() -> int:
        connection = sqlite.connect(flashtrial_home / "server.db", read_only=True)
        try:
            (found,) = connection.execute("SELECT sum(open_points) FROM curves").fetchone()
            return int(found)
        finally:
            connection.close()

    wait_until(lambda: open_points() == 0, what="the tail of an ended run to be sealed")
    assert server.points("r", "x") == [[seq, 1000 * seq, float(seq % 97)] for seq in range(1, total + 1)]


def test_a_long_curve_is_drawn_with_its_ends_its_spikes_and_its_nan_at_any_zoom(server: TrackingClient) -> None:
    total, wanted = 30_000, 20  # so few of so many that summaries of blocks are drawn
    odd = {12_345: 1e9, 23_456: -1e9}
    for start in range(1, total, 10_000):
        values = ((seq, odd.get(seq, seq % 7)) for seq in range(start, start + 10_000))
        server.ingest(batch("r", *(metric(seq, {"x": float(value)}, step=seq) for seq, value in values)))
    for first, last in ((1, total), (10_000, 25_001), (12_300, 12_400)):
        address = f"/api/v1/runs/r/metrics?name=x&points={wanted}&start={first}&end={last}"
        steps = [step for step, *_ in server.get(address).json()["points"]]
        assert len(steps) <= wanted
        assert (steps[0], steps[-1]) == (first, last)
        assert steps == sorted(steps)
        assert {seq for seq in odd if first <= seq <= last} <= set(steps)
