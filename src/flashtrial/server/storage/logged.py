"""SQL that reads a series as it was logged, a page at a time: every point once, whichever of them a curve shows.

What is damaged is left out; the log of the process tells of it.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from flashtrial.server.storage.columns import Columns, joined
from flashtrial.server.storage.gaps import Gap, Gaps


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page begins: at the point `seq` of the writer with this key."""

    writer: int
    seq: int


BEGINNING = Mark(0, 0)


def logged_page(connection: sqlite3.Connection, series: int, mark: Mark, limit: int) -> tuple[Columns, Mark | None]:
    """Up to `limit` (1 or more) points from `mark` on, writer by writer; and where the next page begins.

    Only the blocks that the page touches are read. A point that arrives late, before a mark, is not seen from there.
    The connection is in one snapshot: points move from a tail into a block at any time.
    """
    gaps = Gaps()
    parts: list[Columns] = []
    for writer in _writers(connection, series, mark.writer):
        wanted = limit + 1 - sum(map(len, parts))  # the one too many tells that there is another page
        begin = Mark(writer, mark.seq if writer == mark.writer else 0)
        found = _of_writer(connection, series, begin, wanted, gaps)
        if len(found) == wanted:
            return joined([*parts, found[:-1]]), Mark(writer, int(found.seqs[-1]))
        parts.append(found)
    return joined(parts), None


def _writers(connection: sqlite3.Connection, series: int, first: int) -> list[int]:
    rows = connection.execute(
        "SELECT writer FROM curves WHERE series = ? AND writer >= ? ORDER BY writer", (series, first)
    )
    return [int(writer) for (writer,) in rows]


def _of_writer(connection: sqlite3.Connection, series: int, mark: Mark, limit: int, gaps: Gaps) -> Columns:
    """The first `limit` points of one writer from `mark` on, by number."""
    rows = connection.execute(
        "SELECT rows FROM tails WHERE series = ? AND writer = ? ORDER BY seq", (series, mark.writer)
    )
    tail = gaps.rows((series, mark.writer), (data for (data,) in rows))
    parts, points = [tail[tail.seqs >= mark.seq]], 0
    for block in _blocks(connection, series, mark, gaps):
        parts.append(block)
        points += len(block)
        if points >= limit:  # blocks do not overlap: what is left comes later than all of these
            break
    return joined(parts).by_seq()[:limit]


def _blocks(connection: sqlite3.Connection, series: int, mark: Mark, gaps: Gaps) -> Iterator[Columns]:
    rows = connection.execute(
        "SELECT number, points, data FROM blocks WHERE series = ? AND writer = ? AND last_seq >= ? ORDER BY first_seq",
        (series, mark.writer, mark.seq),
    )
    for number, points, data in rows:
        if (block := gaps.block(number, Gap(points), data)) is not None:
            yield block[block.seqs >= mark.seq]
