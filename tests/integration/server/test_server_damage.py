"""Damage of stored points costs those points alone, is told, and keeps nothing new from being stored."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core import sqlite
from flashtrial.server.storage.point_store import BLOCK_POINTS, SEAL_POINTS
from testkit.tracking_server import TrackingClient, batch, metric, state

TOTAL = 3 * BLOCK_POINTS


def _change(home: Path, sql: str, *values: object) -> None:
    with contextlib.closing(sqlite.connect(home / "server.db")) as connection:
        assert connection.execute(sql, values).rowcount == 1, sql


def _flip(home: Path, first_seq: int) -> None:
    """Turn one bit of a sealed block round."""
    with contextlib.closing(sqlite.connect(home / "server.db")) as connection:
        sql = "SELECT number, data FROM blocks WHERE first_seq = ? AND series = (SELECT number FROM series LIMIT 1)"
        number, data = connection.execute(sql, (first_seq,)).fetchone()
        flipped = bytearray(data)
        flipped[len(flipped) // 2] ^= 4
        connection.execute("UPDATE blocks SET data = ? WHERE number = ?", (bytes(flipped), number))


def _answer(server: TrackingClient, run_id: str = "r", query: str = "name=x&points=100000") -> Any:
    answer = server.get(f"/api/v1/runs/{run_id}/metrics?{query}")
    assert answer.status == 200, answer.body
    return answer.json()


@pytest.fixture
def server(server: TrackingClient) -> TrackingClient:
    """The server with a run of two long curves, sealed."""
    for start in range(1, TOTAL, SEAL_POINTS):
        numbers = range(start, start + SEAL_POINTS)
        server.ingest(batch("r", *(metric(seq, {"x": seq / 7, "y": 1.0}, step=seq) for seq in numbers)))
    return server


def test_a_block_that_is_damaged_leaves_a_gap_that_is_told_and_the_rest_is_seen(
    server: TrackingClient, flashtrial_home: Path
) -> None:
    _flip(flashtrial_home, SEAL_POINTS + 1)
    answer = _answer(server)
    gap = {"points": SEAL_POINTS, "first_step": SEAL_POINTS + 1, "last_step": 2 * SEAL_POINTS}
    assert answer["unreadable"] == [gap]
    there = [*range(1, SEAL_POINTS + 1), *range(2 * SEAL_POINTS + 1, TOTAL + 1)]
    assert [step for step, *_ in answer["points"]] == there
    both = _answer(server, query="name=x&name=y&points=100000")["series"]
    assert ["unreadable" in each for each in both] == [True, False]
    assert len(both[1]["points"]) == TOTAL
    apart = _answer(server, query="name=x&attempts=all&points=100000")
    assert (apart["unreadable"], sum(len(each["points"]) for each in apart["attempts"])) == ([gap], len(there))


def test_a_fork_sees_what_is_left_of_a_damaged_parent(server: TrackingClient, flashtrial_home: Path) -> None:
    server.ingest(batch("child", state(TOTAL + 1, "running", fork={"run_id": "r", "step": 2 * SEAL_POINTS})))
    _flip(flashtrial_home, 2 * SEAL_POINTS + 1)
    assert "unreadable" not in _answer(server, "child")
    _flip(flashtrial_home, 1)
    assert [step for step, *_ in _answer(server, "child")["points"]] == [*range(SEAL_POINTS + 1, 2 * SEAL_POINTS + 1)]
    assert server.request("DELETE", "/api/v1/runs/r").status == 200
    assert [step for step, *_ in _answer(server, "child")["points"]] == [*range(SEAL_POINTS + 1, 2 * SEAL_POINTS + 1)]


def test_late_points_that_fall_into_a_damaged_block_are_stored(server: TrackingClient, flashtrial_home: Path) -> None:
    frames = [metric(seq, {"x": 1.0}, step=seq) for seq in range(1, 3 * SEAL_POINTS, 2)]
    late = [metric(seq, {"x": 2.0}, step=seq) for seq in range(2, 3 * SEAL_POINTS, 2)]
    server.ingest(batch("s", *frames))
    with contextlib.closing(sqlite.connect(flashtrial_home / "server.db")) as connection:
        connection.execute("UPDATE blocks SET data = x'01' WHERE number = (SELECT max(number) FROM blocks)")
    (result,) = server.ingest(batch("s", *late))
    assert (result["stored"], result["refused"]) == (len(late), [])
    answer = _answer(server, "s")
    assert [step for step, _, value in answer["points"] if value == 2.0] == [*range(2, 3 * SEAL_POINTS, 2)]
    assert sum(gap["points"] for gap in answer["unreadable"]) == len(frames)


def test_a_tail_that_is_damaged_costs_its_own_piece_and_is_not_in_the_way_of_the_next(
    server: TrackingClient, flashtrial_home: Path
) -> None:
    for first in (1, 5):
        server.ingest(batch("s", *(metric(seq, {"x": 1.0}) for seq in range(first, first + 4))))
    _change(flashtrial_home, "UPDATE tails SET rows = substr(rows, 1, 100) WHERE seq = 1")
    assert [step for step, *_ in _answer(server, "s")["points"]] == [5, 6, 7, 8]
    server.ingest(batch("s", *(metric(seq, {"x": 1.0}) for seq in range(9, 9 + SEAL_POINTS))))
    answer = _answer(server, "s")
    assert [step for step, *_ in answer["points"]] == [*range(5, 9 + SEAL_POINTS)]
    assert answer["unreadable"] == [{"points": 4, "first_step": None, "last_step": None}]
