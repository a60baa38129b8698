"""Steps of the schema that move points: from one row a point to tails and blocks, and what they tell of writers."""

import sqlite3
from collections.abc import Iterator
from itertools import groupby

from flashtrial.server.storage.columns import columns_of
from flashtrial.server.storage.curve_reader import everything
from flashtrial.server.storage.point_store import Tail, mark, store_blocks
from flashtrial.server.storage.series_rows import choose_last, refresh_summary

_TABLES = (
    """
CREATE TABLE tails (
    series INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    rows BLOB NOT NULL,
    PRIMARY KEY (series, writer, seq)
) WITHOUT ROWID
""",
    """
CREATE TABLE curves (
    series INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    open_points INTEGER NOT NULL,
    PRIMARY KEY (series, writer)
) WITHOUT ROWID
""",
    """
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    first_step INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    ascending INTEGER NOT NULL,
    points INTEGER NOT NULL,
    summary BLOB NOT NULL,
    data BLOB NOT NULL
)
""",
    "CREATE UNIQUE INDEX blocks_of_series ON blocks (series, writer, first_seq)",
)

# What runs and writers tell, beside what the server makes of it (see run_facts and liveness).
_COLUMNS = (
    "ALTER TABLE runs ADD COLUMN summary TEXT",
    "ALTER TABLE runs ADD COLUMN counts TEXT",
    "ALTER TABLE runs ADD COLUMN told_status TEXT NOT NULL DEFAULT 'created'",
    "ALTER TABLE runs ADD COLUMN told_reason TEXT",
    "ALTER TABLE runs ADD COLUMN fork_run TEXT",
    "ALTER TABLE runs ADD COLUMN fork_step INTEGER",
    "ALTER TABLE runs ADD COLUMN folded_ms INTEGER",
    "ALTER TABLE runs ADD COLUMN folded_writer TEXT",
    "ALTER TABLE writers ADD COLUMN change_seq INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE writers ADD COLUMN change_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE writers ADD COLUMN first_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE writers ADD COLUMN last_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE writers ADD COLUMN resumed INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE writers ADD COLUMN role TEXT",
    "ALTER TABLE writers ADD COLUMN beat TEXT",
    "ALTER TABLE writers ADD COLUMN heard_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE writers ADD COLUMN gone_reason TEXT",
    "ALTER TABLE writers ADD COLUMN host TEXT",
    "UPDATE runs SET told_status = status, told_reason = reason",
    "UPDATE writers SET (first_ms, last_ms, change_ms, change_seq) = (SELECT coalesce(min(time_ms), 0), "
    "coalesce(max(time_ms), 0), coalesce(max(time_ms), 0), coalesce(max(seq), 0) "
    "FROM changes WHERE changes.writer = writers.number)",
    "CREATE INDEX runs_open ON runs (number) WHERE told_status IN ('created', 'running')",
)


def to_columns(connection: sqlite3.Connection) -> None:
    """Make the new tables, move every point into them, and drop the old one. Inside a transaction."""
    for statement in (*_TABLES, *_COLUMNS):
        connection.execute(statement)
    for tail, rows in _old_points(connection):
        store_blocks(connection, tail, columns_of(rows))
        connection.execute(
            "INSERT INTO curves (series, writer, open_points) VALUES (?, ?, 0)", (tail.series, tail.writer)
        )
    connection.execute("DROP TABLE points")
    for (run,) in connection.execute("SELECT number FROM runs").fetchall():
        refresh_summary(connection, run)


def _old_points(connection: sqlite3.Connection) -> Iterator[tuple[Tail, list[tuple[int, int, int, float]]]]:
    """The points of each (series, writer) by sequence number. NaN was stored as NULL."""
    rows = connection.execute(
        "SELECT series, writer, seq, step, time_ms, coalesce(value, 'nan') FROM points ORDER BY series, writer, seq"
    )
    for (series, writer), own in groupby(rows, key=lambda row: (row[0], row[1])):
        yield Tail(series, writer), [(seq, step, time_ms, float(value)) for _, _, seq, step, time_ms, value in own]


# Which point of each writer is its last, so that the last of them all does not depend on who was heard when; and how
# far a writer's clock is ahead of ours.
_LASTS = (
    "ALTER TABLE writers ADD COLUMN ahead_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE curves ADD COLUMN last_seq INTEGER NOT NULL DEFAULT -1",
    "ALTER TABLE curves ADD COLUMN last_time_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE curves ADD COLUMN last_step INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE curves ADD COLUMN last_value REAL",
    "ALTER TABLE series DROP COLUMN last_writer",
    "ALTER TABLE series DROP COLUMN last_seq",
)


def to_lasts_by_writer(connection: sqlite3.Connection) -> None:
    """Make the columns and fill them from the points. Inside a transaction."""
    for statement in _LASTS:
        connection.execute(statement)
    for (series,) in connection.execute("SELECT number FROM series").fetchall():
        points = everything(connection, series)
        for writer, columns in points.items():
            mark(connection, Tail(series, writer), columns, 0)
        if points:
            choose_last(connection, series)
    for (run,) in connection.execute("SELECT number FROM runs").fetchall():
        refresh_summary(connection, run)
