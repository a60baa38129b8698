"""P12, P13: how quick the server takes records in, and answers what a dashboard asks.

Usage: server.py [--quick] [--only P12]

The server is a process of its own, asked over a kept-alive connection; an ingest request ends when its answer is there,
that is after the commit. The floor of P12 puts the same points into a bare SQLite table with the same durability, a
transaction a request, without HTTP, parsing, identities or names; that of P13 reads the same rows, from such a table
and from our own, with nothing behind. Peers: a real MLflow
server with SQLite behind it, and trackio's store in process.
"""

import contextlib
import math
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchkit.ingest_peers import figures_of_peers
from benchkit.instance import Server, serving
from benchkit.program import Options, main
from benchkit.rows import Row
from benchkit.timing import in_turn
from flashtrial.protocol.records import Batch, encode_batches, encode_record

RUNS, COLUMNS = 1_000, 20
START_MS = 1_700_000_000_000
SHAPES = ((1000, 10), (1000, 1), (10, 10), (1, 10))
LEAST_POINTS_PER_S, MOST_BYTES_A_POINT = 500_000, 12
SEALED_DEADLINE_S = 30.0
BARE = "SELECT step, time_ms, value FROM points WHERE series = 0 AND step BETWEEN ? AND ?"


def value(seq: int, number: int) -> float:
    """A noisy curve whose every bit is used: nothing that compresses for being made up."""
    return math.exp(-seq / 1e5) + math.sin(seq * 12.9898 + number) / 7


def body(run: str, first: int, records: int, metrics: int) -> bytes:
    """An ingest request of one writer: `records` metric records from number `first` on."""
    frames = b"".join(
        encode_record(
            seq,
            "metric",
            START_MS + 250 * seq,
            {"step": seq, "values": {f"metric_{number}": value(seq, number) for number in range(metrics)}},
        )
        for seq in range(first, first + records)
    )
    return encode_batches([Batch(run, "wr_1", frames)])


def table(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE points (series, step, time_ms, value, PRIMARY KEY (series, step)) WITHOUT ROWID")
    return connection


def insert(connection: sqlite3.Connection, first: int, records: int, metrics: int) -> None:
    """The floor of one ingest request."""
    connection.execute("BEGIN IMMEDIATE")
    for number in range(metrics):
        points = ((number, seq, START_MS + 250 * seq, value(seq, number)) for seq in range(first, first + records))
        connection.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", points)
    connection.execute("COMMIT")


def points_of_one(options: Options) -> int:
    return 200_000 if options.quick else 1_000_000


def ingests(options: Options) -> Iterator[Row]:
    """P12: requests of four shapes, each followed by its floor; then peers; then what it all takes on disk."""
    with tempfile.TemporaryDirectory() as directory, serving(Path(directory) / "home") as server:
        ours = {
            shape: ingest(
                server, Path(directory), *shape, (5 if options.quick else 15) * (1 if shape[0] == 1000 else 4)
            )
            for shape in SHAPES
        }
        theirs = figures_of_peers(Path(directory) / "peers", SHAPES, options.quick)
        for shape, (mine_s, floor_s) in ours.items():
            yield ingest_row(
                *shape, mine_s, floor_s, {name: each.shapes.get(shape, each.missing) for name, each in theirs.items()}
            )
        fill_curve(server, points_of_one(options))
        sizes = {name: each.size or each.missing for name, each in theirs.items()}
        yield size_on_disk(server, "", sizes)
        fill_runs(server)
        yield size_on_disk(server, f", {RUNS:,} runs of {COLUMNS} metrics with one point each among them", {})


def ingest(server: Server, directory: Path, records: int, metrics: int, requests: int) -> tuple[float, float]:
    """Medians of seconds a request: ours, the floor's."""
    run = f"run_{records}_{metrics}"
    bodies = iter([body(run, 1 + number * records, records, metrics) for number in range(requests)])
    firsts = iter(range(1, requests * records + 1, records))
    with contextlib.closing(table(directory / f"{run}.db")) as floor:
        taken = in_turn(
            requests,
            lambda: server.ingest(next(bodies)),
            lambda: insert(floor, next(firsts), records, metrics),
        )
    ended = encode_record(requests * records + 1, "state", START_MS, {"status": "finished"})
    server.ingest(encode_batches([Batch(run, "wr_1", ended)]))
    return statistics.median(taken[0]), statistics.median(taken[1])


def ingest_row(records: int, metrics: int, mine_s: float, floor_s: float, theirs: dict[str, str]) -> Row:
    points = records * metrics
    rate = points / mine_s
    ours = f"{rate:,.0f} points/s, {mine_s * 1e3:.1f} ms a request"
    floor = f"bare SQLite, a transaction each {points / floor_s:,.0f} points/s"
    goal, met = ("≥ 500,000 points/s", rate >= LEAST_POINTS_PER_S) if records == 1000 else ("", None)
    what = f"ingest to commit, {records} records x {metrics} metrics a request; machine"
    return Row("P12", what, ours, floor, theirs, mine_s / floor_s, goal, met)


def points_in(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT sum(points) FROM series").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return int(count)


def wait_until_sealed(database: Path) -> None:
    """Until no ended run has points outside of blocks, or the deadline."""
    sql = """
        SELECT count(*) FROM tails JOIN series ON tails.series = series.number JOIN runs ON series.run = runs.number
        WHERE runs.id IN ('run_long', 'run_1000_10')
    """
    deadline = time.monotonic() + SEALED_DEADLINE_S
    with contextlib.closing(sqlite3.connect(database)) as connection:
        while connection.execute(sql).fetchone()[0] and time.monotonic() < deadline:
            time.sleep(0.2)


def size_on_disk(server: Server, with_what: str, theirs: dict[str, str]) -> Row:
    wait_until_sealed(server.database)
    points = points_in(server.database)
    per_point = server.database.stat().st_size / points
    what = f"size on disk of {points:,} points after compaction{with_what}"
    goal, met = f"≤ {MOST_BYTES_A_POINT} bytes", per_point <= MOST_BYTES_A_POINT
    return Row("P12", what, f"{per_point:.1f} bytes a point", "", theirs, goal=goal, met=met)


def fill_curve(server: Server, points: int) -> None:
    """A run that has ended, with one metric."""
    for first in range(1, points, 10_000):
        server.ingest(body("run_long", first, 10_000, 1))
    ended = encode_record(points + 1, "state", START_MS + 250 * points, {"status": "finished"})
    server.ingest(encode_batches([Batch("run_long", "wr_1", ended)]))


def fill_runs(server: Server) -> None:
    batches = []
    for number in range(RUNS):
        state = {"status": "running", "name": f"run {number}", "config": {"learning_rate": 0.1, "layers": number}}
        values = {f"metric_{column}": column / 7 for column in range(COLUMNS)}
        frames = encode_record(1, "state", START_MS, state) + encode_record(
            2, "metric", START_MS, {"step": 1, "values": values}
        )
        batches.append(Batch(f"run_{number}", "wr_1", frames))
    server.ingest(encode_batches(batches))


def ask(what: str, server: Server, path: str, floor: Callable[[], object], most_ms: float) -> Row:
    """P13: one question, each time followed by its floor."""
    mine, floor_s = (statistics.median(each) for each in in_turn(9, lambda: server.get(path), floor))
    told = f"the same rows of bare SQLite {floor_s * 1e3:.0f} ms"
    goal, met = f"≤ {most_ms:.0f} ms", mine * 1e3 <= most_ms
    return Row("P13", what, f"{mine * 1e3:.1f} ms", told, {}, mine / floor_s, goal, met)


def questions(options: Options) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory, serving(Path(directory) / "home") as server:
        fill_curve(server, points_of_one(options))
        fill_runs(server)
        wait_until_sealed(server.database)
        yield from charts(server, Path(directory), points_of_one(options))
        yield runs_list(server)


def charts(server: Server, directory: Path, points: int) -> Iterator[Row]:
    """P13: a curve of many points, whole, zoomed into, and the newest of it."""
    with contextlib.closing(table(directory / "long.db")) as bare:
        insert(bare, 1, points, 1)
        for what, first, last in (
            (f"chart of {points:,} points thinned to 1,000", 1, points),
            ("its middle half", points // 4, 3 * points // 4),
            ("its last 5,000", points - 4_999, points),
        ):
            path = f"/api/v1/runs/run_long/metrics?name=metric_0&points=1000&start={first}&end={last}"
            yield ask(what, server, path, lambda steps=(first, last): bare.execute(BARE, steps).fetchall(), 50)


def runs_list(server: Server) -> Row:
    """P13: what the dashboard's table asks."""
    sql = "SELECT runs.id, series.name, points, last_value FROM runs JOIN series ON run = runs.number"
    with contextlib.closing(sqlite3.connect(server.database)) as connection:
        what = f"list of {RUNS:,} runs x {COLUMNS} columns"
        return ask(what, server, f"/api/v1/runs?limit={RUNS}", lambda: connection.execute(sql).fetchall(), 100)


MEASURES = (("P12", ingests), ("P13", questions))

if __name__ == "__main__":
    main(MEASURES, __doc__)
