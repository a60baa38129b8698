"""Runs are read from disk with no server, beside one, and from nothing."""

from pathlib import Path

import pytest

from flashtrial.core import sqlite
from flashtrial.core.sqlite import DatabaseFromTheFuture
from flashtrial.server.views import read_runs, verify_counts
from testkit.tracking_server import batch, metric, state, tracking_server


def test_the_runs_of_a_stopped_server_are_those_it_answered_with(flashtrial_home: Path) -> None:
    db_path = flashtrial_home / "server.db"
    with tracking_server(flashtrial_home) as server:
        server.ingest(batch("r", state(1, "running", config={"lr": 0.1}), metric(2, {"x": 1}), state(3, "finished")))
        answered = server.get("/api/v1/runs").json()["runs"]
        assert read_runs(db_path) == answered
    assert read_runs(db_path) == answered


def test_where_no_server_ever_ran_there_are_no_runs_and_no_file_is_made(tmp_path: Path) -> None:
    assert read_runs(tmp_path / "server.db") == []
    assert verify_counts(tmp_path / "server.db", "r") == []
    assert list(tmp_path.iterdir()) == [] or not (tmp_path / "server.db").exists()


def test_a_restarted_server_goes_on_where_it_was(flashtrial_home: Path) -> None:
    for expected in ((1, 0), (0, 1)):
        with tracking_server(flashtrial_home) as server:
            (result,) = server.ingest(batch("r", metric(1, {"x": 1})))
            assert (result["stored"], result["duplicates"]) == expected


def test_gaps_of_a_writer_are_seen(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home) as server:
        server.ingest(
            batch("r", metric(1, {"x": 1}), metric(5, {"x": 1})), batch("r", metric(1, {"x": 1}), writer_id="w2")
        )
    assert verify_counts(flashtrial_home / "server.db", "r") == [
        {"writer_id": "w1", "stored": 2, "max_seq": 5, "doubled": 0},
        {"writer_id": "w2", "stored": 1, "max_seq": 1, "doubled": 0},
    ]


def test_a_database_of_a_newer_version_is_not_misread(tmp_path: Path) -> None:
    connection = sqlite.connect(tmp_path / "server.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(DatabaseFromTheFuture):
        read_runs(tmp_path / "server.db")
