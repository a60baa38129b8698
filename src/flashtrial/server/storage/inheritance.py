"""What a fork has of a parent that may be gone one day: config and tags from its beginning on, points once it is.

Points are read where they lie as long as they do. When the parent is removed they are copied, in the transaction that
removes it or on a full disk in one before it, into blocks of the fork that no writer of it wrote: they are no records
of its own and count as none.
"""

import sqlite3
from dataclasses import dataclass

import numpy as np

from flashtrial.server.records import SeriesKind
from flashtrial.server.storage.columns import Columns, encode_block
from flashtrial.server.storage.curve_reader import draw
from flashtrial.server.storage.curves import MAX_STEP, MIN_STEP
from flashtrial.server.storage.gaps import Gaps
from flashtrial.server.storage.lineage import Ancestor, Wanted, line_of, pieces_of
from flashtrial.server.storage.point_store import BLOCK_POINTS
from flashtrial.server.storage.summary import summary_of

INHERITANCE_TABLES = """
CREATE TABLE inheritance (
    run INTEGER PRIMARY KEY REFERENCES runs (number),
    config TEXT NOT NULL,
    tags TEXT NOT NULL,
    has_points INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE inherited (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (number),
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    first_step INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    points INTEGER NOT NULL,
    summary BLOB NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX inherited_of_run ON inherited (run, name, kind)
"""


@dataclass(frozen=True, slots=True)
class Inheritance:
    """The parent's config and tags, as JSON."""

    config: str
    tags: str


def inheritance_of(connection: sqlite3.Connection, run: int, parent_id: str) -> Inheritance | None:
    """What the run inherited of its parent when it was first asked for; None while there is no such parent.

    What is found is written down, so that it stays the same whatever becomes of the parent.
    """
    row = connection.execute("SELECT config, tags FROM inheritance WHERE run = ?", (run,)).fetchone()
    if row is None:
        row = connection.execute("SELECT config, tags FROM runs WHERE id = ?", (parent_id,)).fetchone()
        if row is None:
            return None
        connection.execute("INSERT INTO inheritance (run, config, tags) VALUES (?, ?, ?)", (run, *row))
    return Inheritance(*row)


def bequeath(connection: sqlite3.Connection, parent_id: str) -> bool:
    """Give the forks of a run that is about to be removed what they have of its curves; whether one had not got it."""
    has_given = False
    forks = connection.execute("SELECT number, id FROM runs WHERE fork_run = ?", (parent_id,)).fetchall()
    for number, run_id in forks:
        line = line_of(connection, run_id)[1:]
        if line:  # else it was given it already, by a parent of that name
            has_given = True
            inheritance_of(connection, number, parent_id)
            connection.execute("UPDATE inheritance SET has_points = 1 WHERE run = ?", (number,))
            for kind, name in sorted(names_in(connection, line)):
                _give(connection, number, line, kind, name)
    return has_given


def names_in(connection: sqlite3.Connection, line: list[Ancestor]) -> set[tuple[str, str]]:
    """Kind and name of every series along the line."""
    found: set[tuple[str, str]] = set()
    for ancestor in line:
        for table in ("series", "inherited"):
            sql = f"SELECT DISTINCT kind, name FROM {table} WHERE run = ?"  # noqa: S608 - our own words
            found.update(connection.execute(sql, (ancestor.run,)).fetchall())
    return found


def _give(connection: sqlite3.Connection, run: int, line: list[Ancestor], kind: str, name: str) -> None:
    gaps = Gaps()
    wanted = Wanted(name, SeriesKind(kind), MIN_STEP, MAX_STEP)
    seen = draw(connection, pieces_of(connection, line, wanted, gaps), None, gaps)
    # Numbered anew: of several writers, the numbers that they had say nothing together.
    seen = Columns(np.arange(1, len(seen) + 1, dtype=np.int64), seen.steps, seen.times_ms, seen.values)
    for start in range(0, len(seen), BLOCK_POINTS):
        block = seen[start : start + BLOCK_POINTS]
        connection.execute(
            "INSERT INTO inherited (run, kind, name, first_step, last_step, points, summary, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run,
                kind,
                name,
                int(block.steps[0]),
                int(block.steps[-1]),
                len(block),
                summary_of(block),
                encode_block(block),
            ),
        )


def forget(connection: sqlite3.Connection, run: int) -> None:
    """Remove what a run inherited."""
    connection.execute("DELETE FROM inherited WHERE run = ?", (run,))
    connection.execute("DELETE FROM inheritance WHERE run = ?", (run,))
