"""SQL that writes points: appended to an open tail, sealed into a block when the tail is long enough.

A tail and its blocks belong to one (series, writer). Blocks hold points in the order in which they were logged, that is
by sequence number, and no two blocks of a writer overlap in it; late points are sealed together with the blocks that
they fall into. What is damaged stays as it is, beside what is new. Attempts are no concern of writing: they follow from
the order alone, so arrival changes nothing.
"""

import math
import sqlite3
from dataclasses import dataclass

from flashtrial.server.storage.columns import (
    ROW,
    Columns,
    decode_rows,
    encode_block,
    encode_rows,
    joined,
)
from flashtrial.server.storage.gaps import Gap, Gaps
from flashtrial.server.storage.summary import summary_of

SEAL_POINTS = 2048  # an open tail as long as this is sealed
BLOCK_POINTS = 4096
SEAL_AT_END_POINTS = 16  # of a run that has ended; fewer take less room as they are


@dataclass(frozen=True, slots=True)
class Tail:
    """Whose points: a series' of one writer's, by their keys."""

    series: int
    writer: int


@dataclass(frozen=True, slots=True)
class LastPoint:
    """A writer's last point of a series: that of its highest number, whatever its clock did. NaN is None."""

    time_ms: int
    step: int
    value: float | None


def append(connection: sqlite3.Connection, tail: Tail, columns: Columns) -> LastPoint:
    """Store the points (one or more), each of a sequence number that is new to this tail; the tail's last one."""
    columns = columns.by_seq()
    key = (tail.series, tail.writer)
    connection.execute(
        "INSERT INTO tails (series, writer, seq, rows) VALUES (?, ?, ?, ?)",
        (*key, int(columns.seqs[0]), encode_rows(columns)),
    )
    open_points, time_ms, step, value = mark(connection, tail, columns, len(columns))
    if open_points >= SEAL_POINTS:
        seal(connection, tail)
    return LastPoint(time_ms, step, value)


def mark(connection: sqlite3.Connection, tail: Tail, columns: Columns, open_points: int) -> tuple[int, int, int, float]:
    """Count open points, and note the last of these, by number, where it is the last of the tail; what stands then."""
    value = float(columns.values[-1])
    last = (int(columns.times_ms[-1]), int(columns.steps[-1]), None if math.isnan(value) else value)
    found: tuple[int, int, int, float] = connection.execute(
        _MARK, (tail.series, tail.writer, open_points, int(columns.seqs[-1]), *last)
    ).fetchone()
    return found


_LAST = ("last_seq", "last_time_ms", "last_step", "last_value")
_MARK = (
    f"INSERT INTO curves (series, writer, open_points, {', '.join(_LAST)}) VALUES (?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - our own words
    "ON CONFLICT (series, writer) DO UPDATE SET open_points = open_points + excluded.open_points, "
    + ", ".join(
        f"{name} = CASE WHEN last_seq < excluded.last_seq THEN excluded.{name} ELSE {name} END" for name in _LAST
    )
    + " RETURNING open_points, last_time_ms, last_step, last_value"
)


def seal(connection: sqlite3.Connection, tail: Tail) -> None:
    """Turn the open tail into blocks, together with the blocks that it falls into. Harmless where it is empty."""
    open_rows = _take_tail(connection, tail)
    if not len(open_rows):
        return
    late = _take_blocks(connection, tail, int(open_rows.seqs.min()))
    store_blocks(connection, tail, joined([*late, open_rows]).by_seq())


def store_blocks(connection: sqlite3.Connection, tail: Tail, columns: Columns) -> None:
    """Add blocks with these points, in the order in which they were logged, behind those there are."""
    for start in range(0, len(columns), BLOCK_POINTS):
        block = columns[start : start + BLOCK_POINTS]
        connection.execute(
            "INSERT INTO blocks (series, writer, first_seq, last_seq, first_step, last_step, ascending, points, "
            "summary, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                tail.series,
                tail.writer,
                int(block.seqs[0]),
                int(block.seqs[-1]),
                int(block.steps[0]),
                int(block.steps[-1]),
                block.is_ascending,
                len(block),
                summary_of(block),
                encode_block(block),
            ),
        )


def _take_tail(connection: sqlite3.Connection, tail: Tail) -> Columns:
    key = (tail.series, tail.writer)
    whole = "series = ? AND writer = ? AND length(rows) % ? = 0"
    rows = connection.execute(
        f"SELECT rows FROM tails WHERE {whole} ORDER BY seq",  # noqa: S608 - our own words
        (*key, ROW.itemsize),
    ).fetchall()
    connection.execute(f"DELETE FROM tails WHERE {whole}", (*key, ROW.itemsize))  # noqa: S608
    connection.execute("UPDATE curves SET open_points = 0 WHERE series = ? AND writer = ?", key)
    return decode_rows(b"".join(row for (row,) in rows))


def _take_blocks(connection: sqlite3.Connection, tail: Tail, from_seq: int) -> list[Columns]:
    """The blocks that end behind `from_seq`, which then are no more; and the last one, where it is small.

    One that is damaged stays: nothing of what is new may be refused for its sake.
    """
    key = (tail.series, tail.writer)
    rows = connection.execute(
        "SELECT number, points, data FROM blocks WHERE series = ? AND writer = ? AND (last_seq >= ? OR (points < ? "
        "AND first_seq = (SELECT max(first_seq) FROM blocks WHERE series = ? AND writer = ?))) ORDER BY first_seq",
        (*key, from_seq, BLOCK_POINTS // 2, *key),
    ).fetchall()
    gaps = Gaps()
    found = [(number, gaps.block(number, Gap(points), data)) for number, points, data in rows]
    taken = [(number, columns) for number, columns in found if columns is not None]
    connection.executemany("DELETE FROM blocks WHERE number = ?", ((number,) for number, _ in taken))
    return [columns for _, columns in taken]
