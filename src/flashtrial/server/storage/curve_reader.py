"""SQL that reads points: the attempts of a series, and the points that a chart of it needs.

A chart of many points is drawn from the summaries of the blocks, and only the blocks at its ends are read; one of few
points is read whole. Either way lows, highs and both ends are there.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import orjson

from flashtrial.server.downsampling import downsample
from flashtrial.server.storage.columns import Columns, Float64, Int64, decode_block, decode_rows, joined
from flashtrial.server.storage.curves import Attempt, BlockRef, Piece, Segment, attempts
from flashtrial.server.storage.summary import BUCKET_POINTS

# A summary has two of 128 points: from so many points for each one asked for, summaries alone are fine enough.
READ_WHOLE_FACTOR = 2 * BUCKET_POINTS


def attempts_of(connection: sqlite3.Connection, series: int) -> dict[int, list[Attempt]]:
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
    tails = _open_tails(connection, series)
    return {
        writer: attempts(_segments(connection, blocks.get(writer, []), tails.get(writer)))
        for writer in sorted({*blocks, *tails})
    }


def everything(connection: sqlite3.Connection, series: int) -> dict[int, Columns]:
    """All points of each writer of the series, in the order in which they were logged."""
    parts: dict[int, list[Columns]] = {}
    rows = connection.execute("SELECT writer, points, data FROM blocks WHERE series = ?", (series,))
    for writer, points, data in rows:
        parts.setdefault(int(writer), []).append(decode_block(data, points))
    for writer, tail in _open_tails(connection, series).items():
        parts.setdefault(writer, []).append(tail)
    return {writer: joined(own).by_seq() for writer, own in parts.items()}


def _open_tails(connection: sqlite3.Connection, series: int) -> dict[int, Columns]:
    rows = connection.execute("SELECT writer, rows FROM tails WHERE series = ? ORDER BY writer, seq", (series,))
    return {
        int(writer): decode_rows(b"".join(rows for _, rows in own)).by_seq()
        for writer, own in groupby(rows, key=lambda row: row[0])
    }


def _segments(
    connection: sqlite3.Connection, blocks: Sequence[tuple[int, ...]], tail: Columns | None
) -> Iterator[Segment]:
    """One writer's points in the order logged."""
    if tail is not None and blocks and int(tail.seqs[0]) <= blocks[-1][4]:  # late points, not yet in their block
        yield from _parted(joined([*_read(connection, [row[1] for row in blocks]).values(), tail]).by_seq())
        return
    for _, number, points, _, _, first_step, last_step, ascending in blocks:
        if ascending:
            yield Segment(first_step, last_step, BlockRef(number, points))
        else:
            yield from _parted(_read(connection, [number])[number])
    if tail is not None:
        yield from _parted(tail)


def _parted(columns: Columns) -> Iterator[Segment]:
    for ascent in columns.ascents():
        yield Segment(int(ascent.steps[0]), int(ascent.steps[-1]), ascent)


def _read(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Columns]:
    """The points of these blocks, by their numbers."""
    rows = connection.execute(
        "SELECT number, points, data FROM blocks WHERE number IN (SELECT value FROM json_each(?))",
        (orjson.dumps(numbers).decode(),),
    )
    return {number: decode_block(data, points) for number, points, data in rows}


def _read_summaries(connection: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, bytes]:
    rows = connection.execute(
        "SELECT number, summary FROM blocks WHERE number IN (SELECT value FROM json_each(?))",
        (orjson.dumps(sorted(numbers)).decode(),),
    )
    return dict(rows.fetchall())


def draw(connection: sqlite3.Connection, pieces: Iterable[Piece], limit: int | None) -> Columns:
    """The points of the pieces by ascending step, then writer, then sequence; thinned to `limit` (4 or more)."""
    ordered = sorted(pieces, key=lambda piece: (piece.writer, piece.segment.first_step))
    if not ordered:
        return joined([])
    found = _candidates(connection, ordered, limit)
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


def _candidates(connection: sqlite3.Connection, pieces: Sequence[Piece], limit: int | None) -> _Candidates:
    total = sum(piece.segment.points for piece in pieces)
    coarse = set() if limit is None or total <= limit * READ_WHOLE_FACTOR else _coarse(pieces)
    whole = _read(connection, [number for piece in pieces if (number := piece.block) and number not in coarse])
    summaries = _read_summaries(connection, coarse)
    parts = [_points(piece, whole, summaries) for piece in pieces]
    sizes = [len(part) for part in parts]
    weights = [
        piece.segment.points / size if piece.block in coarse else 1.0 for piece, size in zip(pieces, sizes, strict=True)
    ]
    return _Candidates(joined(parts), np.repeat(weights, sizes), np.repeat([piece.writer for piece in pieces], sizes))


def _coarse(pieces: Sequence[Piece]) -> set[int]:
    """The blocks of which the summary will do: those that are seen whole, and are at no end of a writer's curve."""
    found: set[int] = set()
    for _, of_writer in groupby(pieces, key=lambda piece: piece.writer):
        first, *others = of_writer
        # Rounds of one writer overlap: the last piece is the one that ends last, not the one that begins last.
        end = max([first, *others], key=lambda piece: (piece.segment.last_step, piece.segment.first_step))
        found.update(number for piece in others if piece is not end and piece.is_whole and (number := piece.block))
    return found


def _points(piece: Piece, whole: dict[int, Columns], summaries: dict[int, bytes]) -> Columns:
    source = piece.segment.source
    if isinstance(source, BlockRef) and source.number in summaries:
        return decode_rows(summaries[source.number])
    columns = source if isinstance(source, Columns) else whole[source.number]
    if piece.is_whole:
        return columns
    first = np.searchsorted(columns.steps, piece.low, "left")
    return columns[first : np.searchsorted(columns.steps, piece.high, "right")]
