"""Databases of older versions: their points and runs are there afterwards, and reading alone changes nothing."""

import contextlib
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import zstandard

from flashtrial.core import sqlite
from flashtrial.protocol.records import encode_batches
from flashtrial.server.files.rows import DataQuery, list_data
from flashtrial.server.ingest_body import parse_msgpack
from flashtrial.server.intervals import IntervalSet
from flashtrial.server.repository import Repository
from flashtrial.server.schema import MIGRATIONS
from flashtrial.server.views import console_lines, metric_points, read_run, read_runs, verify_counts
from flashtrial.testing.clock import FakeClock
from testkit.tracking_server import batch, metric, state, tracking_server

LAST_WITH_ROWS = 3  # the schema in which a point was a row
POINTS = 5000


def _old_database(path: Path, version: int) -> None:
    """A database as an older flashtrial left it: one ended run of two writers, and one that goes on."""
    with contextlib.closing(sqlite.connect(path)) as connection:
        sqlite.migrate(connection, MIGRATIONS[:version])
        with sqlite.transaction(connection):
            _fill(connection)


def _fill(connection: sqlite3.Connection) -> None:
    for number, status in ((1, "finished"), (2, "running")):
        connection.execute(
            "INSERT INTO runs VALUES (?, ?, 'p', 'n', ?, '[\"t\"]', '{\"lr\": 1}', 'box', NULL, 1000, 9000, 1)",
            (number, f"r{number}", status),
        )
    for number, run, seqs in ((1, 1, range(1, POINTS + 2)), (2, 1, range(1, 3)), (3, 2, range(1, 2))):
        taken = IntervalSet(seqs).encode()
        connection.execute("INSERT INTO writers VALUES (?, ?, ?, ?)", (number, run, f"w{number}", taken))
    for writer, run, body in ((1, 1, b'{"status":"running"}'), (3, 2, b'{"status":"running"}')):
        connection.execute("INSERT INTO changes VALUES (?, 1, ?, 1000, 'state', ?)", (writer, run, body))
    connection.execute(
        "INSERT INTO series (number, run, kind, name, points, last_time_ms, last_step, last_value) "
        "VALUES (1, 1, 'metric', 'x', ?, 9000, ?, 0.5)",
        (POINTS + 1, POINTS),
    )
    rows = [(1, seq, 1, seq + 1, 1000 + seq, None if seq == 7 else seq / 2) for seq in range(1, POINTS + 1)]
    connection.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?, ?)", [*rows, (1, 3, 2, 2, 5, math.inf)])


def test_a_database_of_a_row_a_point_is_read_as_it_is_and_brought_up_to_date_by_the_server(
    flashtrial_home: Path,
) -> None:
    flashtrial_home.mkdir(exist_ok=True)
    path = flashtrial_home / "server.db"
    _old_database(path, LAST_WITH_ROWS)
    expected = [(seq, 1000 + seq, "NaN" if seq == 7 else seq / 2) for seq in range(1, POINTS + 1)]
    expected.insert(3, (3, 5, "Infinity"))
    assert metric_points(path, "r1", "x", limit=100_000) == expected
    before = read_runs(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (LAST_WITH_ROWS,)
    with tracking_server(flashtrial_home) as server:
        assert server.points("r1", "x") == [list(point) for point in expected]
        assert server.ingest(batch("r1", metric(2, {"x": 9.0}), writer_id="w2"))[0]["duplicates"] == 1
        server.ingest(batch("r2", state(2, "finished"), writer_id="w3"))
        assert server.get("/api/v1/runs/r2").json()["status"] == "finished"
    assert read_runs(path)[1] | {"status": "finished"} == before[1] | {"status": "finished"}
    assert before[1]["points"] == {"x": POINTS + 1}
    assert [each["doubled"] for each in verify_counts(path, "r1")] == [0, 0]
    run = read_run(path, "r1")
    assert run is not None
    assert (run["name"], run["tags"], run["config"], run["host"]) == ("n", ["t"], {"lr": 1}, "box")


def test_a_database_that_each_older_flashtrial_left_is_read_as_it_is_and_gone_on_with(flashtrial_home: Path) -> None:
    flashtrial_home.mkdir(exist_ok=True)
    path = flashtrial_home / "server.db"
    for version in range(1, len(MIGRATIONS) + 1):
        kept = OLD_DATABASES / f"schema_{version}.db.zst"
        path.write_bytes(zstandard.ZstdDecompressor().decompress(kept.read_bytes()))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        _is_what_was_left(path, version)
        repository = Repository(path, FakeClock(), lambda _: None)
        repository.start()
        try:
            _is_what_was_left(path, version)
            again, more = batch("ended", metric(1, {"x": 9.0}), writer_id="w2"), batch("ended", metric(45, {"x": 9.0}))
            results = repository.ingest(parse_msgpack(encode_batches([again, more])).batches).result(20)
        finally:
            repository.stop()
        assert [(each.stored, each.duplicates) for each in results] == [(0, 1), (1, 0)]
        assert metric_points(path, "ended", "x")[-1] == (45, 45_000, 9.0)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


OLD_DATABASES = Path(__file__).with_name("old_databases")  # written by the flashtrial that had just got that schema


def _is_what_was_left(path: Path, version: int) -> None:
    """A run of two writers that has ended, and one that goes on."""
    values = {7: "NaN", 8: "Infinity"}
    expected = [(seq, 1000 * seq, values.get(seq, seq / 2)) for seq in range(2, 42)]
    expected.insert(2, (3, 100, -1.0))
    assert metric_points(path, "ended", "x") == expected, version
    live, ended = read_runs(path)
    assert (live["id"], live["status"], live["summary"], live["points"]) == ("live", "running", {"x": 51.0}, {"x": 1})
    told = (ended["project"], ended["name"], ended["status"], ended["tags"], ended["config"])
    assert told == ("p", "n", "finished", ["t"], {"lr": 1}), version
    assert (ended["summary"], ended["points"]) == ({"x": 20.5}, {"x": 41}), version
    assert [line["text"] for line in console_lines(path, "ended")] == ["hello"]
    assert [datum["value"] for datum in list_data(path, DataQuery("ended"))] == [{"rows": [1]}]
    counts = [(each["writer_id"], each["stored"], each["max_seq"]) for each in verify_counts(path, "ended")]
    assert counts == [("w1", 44, 44), ("w2", 1, 1)], version


DIE_WHILE_MIGRATING = """
import os, signal, sys
from pathlib import Path
from flashtrial.core import sqlite
from flashtrial.protocol.records import encode_batches
from flashtrial.server.schema import MIGRATIONS
deaths = 0
for life in range(1, 60):
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, life / 500)
        sqlite.migrate(sqlite.connect(Path(sys.argv[1])), MIGRATIONS)
        os._exit(0)
    deaths += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
print(deaths)
"""


def test_deaths_while_an_old_database_is_brought_up_to_date_lose_no_point(flashtrial_home: Path) -> None:
    flashtrial_home.mkdir(exist_ok=True)
    path = flashtrial_home / "server.db"
    _old_database(path, LAST_WITH_ROWS)
    command = [sys.executable, "-c", DIE_WHILE_MIGRATING, str(path)]
    died = subprocess.run(command, check=True, timeout=50, capture_output=True, text=True)
    assert int(died.stdout) > 0
    with contextlib.closing(sqlite.connect(path)) as connection:
        sqlite.migrate(connection, MIGRATIONS)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(metric_points(path, "r1", "x", limit=100_000)) == POINTS + 1
    run = read_run(path, "r1")
    assert run is not None
    assert run["points"] == {"x": POINTS + 1}
