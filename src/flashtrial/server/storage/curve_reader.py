"""SQL that reads points: the attempts of a series, and the points that a chart of it needs.

A chart of many points is drawn from the summaries of the blocks, and only the blocks at its ends are read; one of few
points is read whole. Either way lows, highs and both ends are there. What is damaged is left out, and noted in `Gaps`.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import orjson

from flashtrial.server.downsampling import downsample
from flashtrial.server.storage.columns import EMPTY, Columns, Float64, Int64, joined
from flashtrial.server.storage.curves import Attempt, BlockRef, Piece, Segment, attempts
from flashtrial.server.storage.gaps import Gap, Gaps
from flashtrial.server.storage.summary import BUCKET_POINTS

# A summary has two of 128 points: from so many points for each one asked for, summaries alone are fine enough.
READ_WHOLE_FACTOR = 2 * BUCKET_POINTS


def attempts_of(connection: sqlite3.Connection, series: int, gaps: Gaps) -> dict[int, list[Attempt]]:
    """The attempts of each writer of the series, oldest first; writers in the order of their keys."""
    blocks = {
        writer: list(rows)
        for writer, rows in groupby(
            connection.execute(
                "SELECT writer, number, points, first_seq, last_seq, first_step, last_step, ascending FROM blocks "
                "WHERE series = ? ORDER BY writer, first_seq",
                (series,),
            ),
            key=lambda row: int(row[0]),
        )
    }
    tails = _open_tails(connection, series, gaps)
    found = {
        writer: attempts(_segments(connection, blocks.get(writer, []), tails.get(writer), gaps))
        for writer in sorted({*blocks, *tails})
    }
    return {writer: own for writer, own in found.items() if own}


def began_ms(connection: sqlite3.Connection, attempt: Attempt, gaps: Gaps) -> int | None:
    """When its first point was logged, by its writer's clock; None where that cannot be read."""
    source = attempt.opening
    columns = source if isinstance(source, Columns) else _read(connection, [source], gaps)[source]
    return int(columns.times_ms[0]) if len(columns) else None


def everything(connection: sqlite3.Connection, series: int) -> dict[int, Columns]:
    """All points of each writer of the series, in the order in which they were logged.

    What is damaged is left out; the log of the process tells of it.
    """
    gaps = Gaps()
    parts: dict[int, list[Columns]] = {}
    rows = connection.execute("SELECT writer, number, points, data FROM blocks WHERE series = ?", (series,))
    for writer, number, points, data in rows:
        if (columns := gaps.block(number, Gap(points), data)) is not None:
            parts.setdefault(int(writer), []).append(columns)
    for writer, tail in _open_tails(connection, series, gaps).items():
        parts.setdefault(writer, []).append(tail)
    return {writer: joined(own).by_seq() for writer, own in parts.items()}


def _open_tails(connection: sqlite3.Connection, series: int, gaps: Gaps) -> dict[int, Columns]:
    rows = connection.execute("SELECT writer, rows FROM tails WHERE series = ? ORDER BY writer, seq", (series,))
    found = {
        int(writer): gaps.rows((series, writer), (data for _, data in own)).by_seq()
        for writer, own in groupby(rows, key=lambda row: row[0])
    }
    return {writer: tail for writer, tail in found.items() if len(tail)}


def _segments(
    connection: sqlite3.Connection, blocks: Sequence[tuple[int, ...]], tail: Columns | None, gaps: Gaps
) -> Iterator[Segment]:
    """One writer's points in the order logged."""
    if tail is not None and blocks and int(tail.seqs[0]) <= blocks[-1][4]:  # late points, not yet in their block
        refs = [BlockRef(row[1], row[2]) for row in blocks]
        yield from _parted(joined([*_read(connection, refs, gaps).values(), tail]).by_seq())
        return
    for _, number, points, _, _, first_step, last_step, ascending in blocks:
        ref = BlockRef(number, points)
        if ascending:
            yield Segment(first_step, last_step, ref)
        else:
            yield from _parted(_read(connection, [ref], gaps)[ref])
    if tail is not None:
        yield from _parted(tail)


def _parted(columns: Columns) -> Iterator[Segment]:
    for ascent in columns.ascents():
        if len(ascent):
            yield Segment(int(ascent.steps[0]), int(ascent.steps[-1]), ascent)


def _read(connection: sqlite3.Connection, refs: Iterable[BlockRef], gaps: Gaps) -> dict[BlockRef, Columns]:
    """The points of these blocks; none of those that are damaged."""
    found: dict[BlockRef, Columns] = {}
    for ref, (first_step, last_step, data) in _columns_of(connection, refs, "first_step, last_step, data"):
        columns = gaps.block(ref, Gap(ref.points, first_step, last_step), data)
        found[ref] = EMPTY if columns is None else columns
    return found


def _read_summaries(connection: sqlite3.Connection, refs: Iterable[BlockRef], gaps: Gaps) -> dict[BlockRef, Columns]:
    """Lows and highs of these blocks, as points."""
    return {ref: gaps.rows((ref, "summary"), data) for ref, data in _columns_of(connection, refs, "summary")}


def _columns_of(
    connection: sqlite3.Connection, refs: Iterable[BlockRef], columns: str
) -> Iterator[tuple[BlockRef, tuple[Any, ...]]]:
    """Those columns of the rows of these blocks."""
    refs = list(refs)
    for table, is_inherited in (("blocks", False), ("inherited", True)):
        wanted = {ref.number: ref for ref in refs if ref.is_inherited is is_inherited}
        if wanted:
            rows = connection.execute(
                f"SELECT number, {columns} FROM {table} WHERE number IN (SELECT value FROM json_each(?))",  # noqa: S608 - our own words
                (orjson.dumps(list(wanted)).decode(),),
            )
            yield from ((wanted[number], tuple(rest)) for number, *rest in rows)


def draw(connection: sqlite3.Connection, pieces: Iterable[Piece], limit: int | None, gaps: Gaps) -> Columns:
    """The points of the pieces by ascending step, then writer, then sequence; thinned to `limit` (4 or more)."""
    ordered = sorted(pieces, key=lambda piece: (piece.writer, piece.segment.first_step))
    if not ordered:
        return joined([])
    found = _candidates(connection, ordered, limit, gaps)
    if not found.is_in_order:
        order = np.lexsort((found.columns.seqs, found.writers, found.columns.steps))
        found = _Candidates(found.columns[order], found.weights[order], found.writers[order])
    return found.columns if limit is None else found.columns[downsample(found.columns.values, limit, found.weights)]


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Points that may be drawn, how many points each stands for, and whose each is."""

    columns: Columns
    weights: Float64
    writers: Int64

    @property
    def is_in_order(self) -> bool:
        """Whether they stand by step, then writer, then sequence number."""
        behind = self.columns.seqs[1:] > self.columns.seqs[:-1]
        for keys in (self.writers, self.columns.steps):  # compared, not subtracted: steps may be 2**64 apart
            behind = (keys[1:] > keys[:-1]) | ((keys[1:] == keys[:-1]) & behind)
        return bool(np.all(behind))


def _candidates(connection: sqlite3.Connection, pieces: Sequence[Piece], limit: int | None, gaps: Gaps) -> _Candidates:
    total = sum(piece.segment.points for piece in pieces)
    coarse = set() if limit is None or total <= limit * READ_WHOLE_FACTOR else _coarse(pieces)
    blocks = {block for piece in pieces if (block := piece.block) is not None}
    read = _read(connection, blocks - coarse, gaps) | _read_summaries(connection, coarse, gaps)
    parts = [_points(piece, read) for piece in pieces]
    sizes = [len(part) for part in parts]
    weights = [
        piece.segment.points / max(size, 1) if piece.block in coarse else 1.0
        for piece, size in zip(pieces, sizes, strict=True)
    ]
    return _Candidates(joined(parts), np.repeat(weights, sizes), np.repeat([piece.writer for piece in pieces], sizes))


def _coarse(pieces: Sequence[Piece]) -> set[BlockRef]:
    """The blocks of which the summary will do: those that are seen whole, and are at no end of a writer's curve."""
    found: set[BlockRef] = set()
    for _, of_writer in groupby(pieces, key=lambda piece: piece.writer):
        first, *others = of_writer
        # Rounds of one writer overlap: the last piece is the one that ends last, not the one that begins last.
        end = max([first, *others], key=lambda piece: (piece.segment.last_step, piece.segment.first_step))
        found.update(block for piece in others if piece is not end and piece.is_whole and (block := piece.block))
    return found


def _points(piece: Piece, read: dict[BlockRef, Columns]) -> Columns:
    source = piece.segment.source
    columns = source if isinstance(source, Columns) else read[source]
    if piece.is_whole:
        return columns
    first = np.searchsorted(columns.steps, piece.low, "left")
    return columns[first : np.searchsorted(columns.steps, piece.high, "right")]
