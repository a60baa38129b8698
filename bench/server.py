"""P12, P13: how quick the server takes records in, and answers what a dashboard asks.

Usage: server.py [--quick]

The server is a process of its own, asked over a kept-alive connection; an ingest request ends when its answer is there,
that is after the commit. The floor of P12 puts the same points into a bare SQLite table with the same durability, a
transaction a request, without HTTP, parsing, identities or names; that of P13 reads the same rows, from such a table
and from our own, with nothing behind.
"""

import contextlib
import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import urllib3

from flashtrial.core import env
from flashtrial.protocol.records import Batch, encode_batches, encode_record

QUICK = "--quick" in sys.argv
POINTS_OF_ONE = 200_000 if QUICK else 1_000_000
RUNS, COLUMNS = 1_000, 20
START_MS = 1_700_000_000_000
BARE = "SELECT step, time_ms, value FROM points WHERE series = 0 AND step BETWEEN ? AND ?"


def row(name: str, ours: str, floor: str, ratio: float | None, goal: str) -> None:
    print(f"| {name} | {ours} | {floor} | {'' if ratio is None else f'{ratio:.2f}'} | {goal} |", flush=True)


class Server:
    """A server of `home`, over one connection."""

    def __init__(self, home: Path, url: str) -> None:
        self.database = home / "server.db"
        self._pool = urllib3.connection_from_url(url, maxsize=1, block=True)

    def ingest(self, body: bytes) -> None:
        answer = self._pool.request(
            "POST", "/api/v1/ingest", body=body, headers={"Content-Type": "application/msgpack"}
        )
        assert answer.status == 200, answer.data
        assert not any(result["refused"] for result in answer.json()["results"])

    def get(self, path: str) -> bytes:
        answer = self._pool.request("GET", path)
        assert answer.status == 200, answer.data
        return answer.data


@contextlib.contextmanager
def serving(home: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "flashtrial.cli"]
    environment = {**env.snapshot(), env.HOME: str(home)}
    up = [*command, "up", "--detach", "--no-runpod", "--port", "0"]
    subprocess.run(up, env=environment, check=True, capture_output=True)
    try:
        yield Server(home, json.loads((home / "instance.json").read_bytes())["url"])
    finally:
        subprocess.run([*command, "down"], env=environment, check=True, capture_output=True)


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


def took_s(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def ingest(server: Server, directory: Path, records: int, metrics: int, requests: int) -> None:
    """P12: requests of one shape, each followed by its floor."""
    run = f"run_{records}_{metrics}"
    bodies = [body(run, 1 + number * records, records, metrics) for number in range(requests)]
    ours, theirs = [], []
    with contextlib.closing(table(directory / f"{run}.db")) as floor:
        for number, each in enumerate(bodies):
            ours.append(took_s(lambda each=each: server.ingest(each)))
            theirs.append(took_s(lambda number=number: insert(floor, 1 + number * records, records, metrics)))
    mine, floor_s = statistics.median(ours), statistics.median(theirs)
    goal = "≥ 500,000 points/s" if records == 1000 else ""
    row(
        f"P12 ingest, {records} records x {metrics} metrics a request",
        f"{records / mine:,.0f} records/s, {records * metrics / mine:,.0f} points/s, {mine * 1e3:.1f} ms",
        f"{records * metrics / floor_s:,.0f} points/s",
        mine / floor_s,
        goal,
    )


def points_in(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT sum(points) FROM series").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return int(count)


def size_on_disk(server: Server) -> None:
    points = points_in(server.database)
    per_point = server.database.stat().st_size / points
    row(f"P12 size on disk of {points:,} points", f"{per_point:.1f} bytes a point", "", None, "≤ 12 bytes")


def fill(server: Server) -> None:
    """One metric of a million points; a thousand runs of twenty."""
    for first in range(1, POINTS_OF_ONE, 10_000):
        server.ingest(body("run_long", first, 10_000, 1))
    batches = []
    for number in range(RUNS):
        state = {"status": "running", "name": f"run {number}", "config": {"learning_rate": 0.1, "layers": number}}
        values = {f"metric_{column}": column / 7 for column in range(COLUMNS)}
        frames = encode_record(1, "state", START_MS, state) + encode_record(
            2, "metric", START_MS, {"step": 1, "values": values}
        )
        batches.append(Batch(f"run_{number}", "wr_1", frames))
    server.ingest(encode_batches(batches))


def ask(name: str, server: Server, path: str, floor: Callable[[], object], goal: str) -> None:
    """P13: one question, each time followed by its floor."""
    ours, theirs = [], []
    for _ in range(9):
        ours.append(took_s(lambda: server.get(path)))
        theirs.append(took_s(floor))
    mine, floor_s = statistics.median(ours), statistics.median(theirs)
    row(f"P13 {name}", f"{mine * 1e3:.1f} ms", f"{floor_s * 1e3:.0f} ms", mine / floor_s, goal)


def charts(server: Server, directory: Path) -> None:
    """P13: a curve of many points, whole, zoomed into, and the newest of it."""
    with contextlib.closing(table(directory / "long.db")) as bare:
        insert(bare, 1, POINTS_OF_ONE, 1)
        for what, first, last in (
            (f"chart of {POINTS_OF_ONE:,} points thinned to 1,000", 1, POINTS_OF_ONE),
            ("its middle half", POINTS_OF_ONE // 4, 3 * POINTS_OF_ONE // 4),
            ("its last 5,000", POINTS_OF_ONE - 4_999, POINTS_OF_ONE),
        ):
            path = f"/api/v1/runs/run_long/metrics?name=metric_0&points=1000&start={first}&end={last}"
            ask(what, server, path, lambda steps=(first, last): bare.execute(BARE, steps).fetchall(), "≤ 50 ms")


def lists(server: Server) -> None:
    """P13: what the dashboard's table asks."""
    sql = "SELECT runs.id, series.name, points, last_value FROM runs JOIN series ON run = runs.number"
    with contextlib.closing(sqlite3.connect(server.database)) as connection:
        path = f"/api/v1/runs?limit={RUNS}"
        ask(
            f"list of {RUNS:,} runs x {COLUMNS} columns",
            server,
            path,
            lambda: connection.execute(sql).fetchall(),
            "≤ 100 ms",
        )


def main() -> None:
    os.environ.pop(env.URL, None)
    print("| what | ours | floor | ratio | goal |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory, serving(Path(directory) / "home") as server:
        requests = 5 if QUICK else 15
        ingest(server, Path(directory), 1000, 10, requests)
        ingest(server, Path(directory), 1000, 1, requests)
        ingest(server, Path(directory), 10, 10, 50)
        ingest(server, Path(directory), 1, 10, 50)
        fill(server)
        size_on_disk(server)
        charts(server, Path(directory))
        lists(server)


if __name__ == "__main__":
    main()
