"""The series of runs as answers show them: names, curves, attempts. Reading is as in `flashtrial.server.views`.

A curve is what is seen of all attempts: where steps went back, or an owner went on with the run, the later points take
the place of the earlier ones. A forked run begins with its parent's curve, read where it lies.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypedDict

import numpy as np

from flashtrial.server.records import SeriesKind, not_finite_name
from flashtrial.server.storage.columns import Columns, Float64
from flashtrial.server.storage.curve_reader import attempts_of, draw
from flashtrial.server.storage.curves import MAX_STEP, MIN_STEP, Attempt, Piece, stitched, within
from flashtrial.server.storage.reading import reading

Number: TypeAlias = "float | str"  # NaN and infinities are "NaN", "Infinity", "-Infinity"
PointView: TypeAlias = "tuple[int, int, Number]"  # step, time in ms, value

MAX_FORKS = 32


class AttemptView(TypedDict):
    """One attempt of a series, by one writer; attempts count from 1 in the order in which they began."""

    attempt: int
    writer_id: str
    points: list[PointView]


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """Which series of which run, between which steps (both included), thinned to `limit` points (4 or more; None: all).

    Without a `kind` a metric wins over a system figure of the same name.
    """

    run_id: str
    name: str
    start: int | None = None
    end: int | None = None
    limit: int | None = 1000
    kind: SeriesKind | None = None

    @property
    def low(self) -> int:
        return MIN_STEP if self.start is None else self.start

    @property
    def high(self) -> int:
        return MAX_STEP if self.end is None else self.end


def metric_names(db_path: Path, run_id: str) -> dict[SeriesKind, list[str]]:
    """The names of the run's series by kind, sorted, those of runs it was forked from too; empty without such a run."""
    with reading(db_path) as connection:
        found: set[tuple[str, str]] = set()
        for run, _ in _line_of(connection, run_id):
            found.update(connection.execute("SELECT kind, name FROM series WHERE run = ?", (run,)).fetchall())
    return {wanted: sorted(name for kind, name in found if kind == wanted) for wanted in SeriesKind}


def metric_points(
    db_path: Path, run_id: str, name: str, *, start: int | None = None, end: int | None = None, limit: int = 1000
) -> list[PointView]:
    """(step, time_ms, value) by ascending step, from step `start` to step `end`, thinned to `limit` (4 or more).

    Empty when there is no such run or series. A metric wins over a system figure of the same name.
    """
    return curve(db_path, SeriesQuery(run_id, name, start, end, limit))


def curve(db_path: Path, query: SeriesQuery) -> list[PointView]:
    """The points that are seen of a series; empty when there is no such run or series."""
    with reading(db_path) as connection:
        return points_of(seen(connection, query))


def seen(connection: sqlite3.Connection, query: SeriesQuery) -> Columns:
    """The same as columns, from an open connection."""
    pieces: list[Piece] = []
    high = query.high
    for run, fork_step in _line_of(connection, query.run_id):
        high = high if fork_step is None else min(high, fork_step)
        number = _series(connection, run, query)
        if number is not None:
            own, begins = stitched(_generations(connection, run, number), query.low, high)
            pieces += own
            high = min(high, begins - 1)
    return draw(connection, pieces, query.limit)


def attempts(db_path: Path, query: SeriesQuery) -> list[AttemptView]:
    """Every attempt of the run's own series, each thinned by itself; those of its parents are theirs."""
    with reading(db_path) as connection:
        line = _line_of(connection, query.run_id)
        number = _series(connection, line[0][0], query) if line else None
        if number is None:
            return []
        ids = dict(connection.execute("SELECT number, id FROM writers WHERE run = ?", (line[0][0],)).fetchall())
        found = [
            (writer, within(writer, attempt, query.low, query.high))
            for generation in _generations(connection, line[0][0], number)
            for writer, own in generation.items()
            for attempt in own
        ]
        return [
            {"attempt": place, "writer_id": ids[writer], "points": points_of(draw(connection, pieces, query.limit))}
            for place, (writer, pieces) in enumerate(found, 1)
        ]


def points_of(columns: Columns) -> list[PointView]:
    """The columns as answers have them."""
    return list(zip(columns.steps.tolist(), columns.times_ms.tolist(), shown_values(columns.values), strict=True))


def shown_values(values: Float64) -> list[Number]:
    """Values as answers have them."""
    shown: list[Number] = values.tolist()
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        shown[place] = not_finite_name(float(values[place]))
    return shown


def _line_of(connection: sqlite3.Connection, run_id: str) -> list[tuple[int, int | None]]:
    """The run's key, and those of the runs it was forked from, each with the last step that is taken of it."""
    line: list[tuple[int, int | None]] = []
    wanted: str | None = run_id
    step: int | None = None
    while wanted is not None and len(line) < MAX_FORKS:
        row = connection.execute("SELECT number, fork_run, fork_step FROM runs WHERE id = ?", (wanted,)).fetchone()
        if row is None or any(row[0] == known for known, _ in line):
            break
        line.append((row[0], step))
        _, wanted, step = row
    return line


def _series(connection: sqlite3.Connection, run: int, query: SeriesQuery) -> int | None:
    row = connection.execute(
        "SELECT number FROM series WHERE run = ? AND name = ? AND kind IN (?, ?) ORDER BY kind LIMIT 1",
        (run, query.name, *((query.kind, query.kind) if query.kind else SeriesKind)),
    ).fetchone()
    return None if row is None else int(row[0])


def _generations(connection: sqlite3.Connection, run: int, series: int) -> list[dict[int, list[Attempt]]]:
    """The attempts of each writer of the series, in the generations of the run, oldest first."""
    by_writer = attempts_of(connection, series)
    places = _places(connection, run)
    found: list[dict[int, list[Attempt]]] = [{} for _ in range(max(places.values(), default=0) + 1)]
    for writer, own in by_writer.items():
        found[places[writer]][writer] = own
    return found


def _places(connection: sqlite3.Connection, run: int) -> dict[int, int]:
    """To which generation each writer of the run belongs.

    An owner that goes on with the run begins a new one. Everybody else belongs to the newest that began before it fell
    silent: a rank may open its journal before the owner does.
    """
    rows: list[tuple[int, str, int, int, int]] = connection.execute(
        "SELECT number, id, first_ms - ahead_ms, last_ms - ahead_ms, resumed FROM writers WHERE run = ?", (run,)
    ).fetchall()
    # Of two times that are equal the id decides: a writer's key says who was heard first, and that must not matter.
    begins = sorted((first_ms, each) for _, each, first_ms, _, resumed in rows if resumed)
    return {
        number: sum(begin <= ((first_ms if resumed else last_ms), each) for begin in begins)
        for number, each, first_ms, last_ms, resumed in rows
    }
