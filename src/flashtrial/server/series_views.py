"""The series of runs as answers show them: names, curves, attempts. Reading is as in `flashtrial.server.views`.

A curve is what is seen of all attempts: where steps went back, or an owner went on with the run, the later points take
the place of the earlier ones. A forked run begins with its parent's curve. What is damaged is left out, and told.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NotRequired, TypeAlias, TypedDict

import numpy as np

from flashtrial.server.records import SeriesKind, not_finite_name
from flashtrial.server.storage.columns import Columns, Float64
from flashtrial.server.storage.curve_reader import draw
from flashtrial.server.storage.curves import MAX_STEP, MIN_STEP, within
from flashtrial.server.storage.gaps import Gaps
from flashtrial.server.storage.inheritance import names_in
from flashtrial.server.storage.lineage import Wanted, generations, line_of, pieces_of, series_of
from flashtrial.server.storage.reading import reading

Number: TypeAlias = "float | str"  # NaN and infinities are "NaN", "Infinity", "-Infinity"
PointView: TypeAlias = "tuple[int, int, Number]"  # step, time in ms, value


class GapView(TypedDict):
    """Points that cannot be read any more; their steps are None where even those are not known."""

    points: int
    first_step: int | None
    last_step: int | None


class AttemptView(TypedDict):
    """One attempt of a series, by one writer; attempts count from 1 in the order in which they began."""

    attempt: int
    writer_id: str
    points: list[PointView]


class CurveView(TypedDict):
    """One series, as a curve or by attempts; `unreadable` is there only where something was damaged."""

    name: str
    points: NotRequired[list[PointView]]
    attempts: NotRequired[list[AttemptView]]
    unreadable: NotRequired[list[GapView]]


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
    def wanted(self) -> Wanted:
        low = MIN_STEP if self.start is None else self.start
        return Wanted(self.name, self.kind, low, MAX_STEP if self.end is None else self.end)


def metric_names(db_path: Path, run_id: str) -> dict[SeriesKind, list[str]]:
    """The names of the run's series by kind, sorted, those of runs it was forked from too; empty without such a run."""
    with reading(db_path) as connection:
        found = names_in(connection, line_of(connection, run_id))
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


def attempts(db_path: Path, query: SeriesQuery) -> list[AttemptView]:
    """Every attempt of the run's own series, each thinned by itself; those of its parents are theirs."""
    with reading(db_path) as connection:
        return _attempts(connection, query, Gaps())


def curves(connection: sqlite3.Connection, queries: Sequence[SeriesQuery], *, apart: bool = False) -> list[CurveView]:
    """Several series, in the order asked for, as they are at one moment; all attempts of each where `apart`."""
    return [_view(connection, query, apart=apart) for query in queries]


def _view(connection: sqlite3.Connection, query: SeriesQuery, *, apart: bool) -> CurveView:
    gaps = Gaps()
    view: CurveView = {"name": query.name}
    if apart:
        view["attempts"] = _attempts(connection, query, gaps)
    else:
        view["points"] = points_of(seen(connection, query, gaps))
    if gaps.found:
        view["unreadable"] = [GapView(**asdict(gap)) for gap in gaps.found]  # type: ignore[typeddict-item]  # its fields
    return view


def seen(connection: sqlite3.Connection, query: SeriesQuery, gaps: Gaps | None = None) -> Columns:
    """The points that are seen of a series, from an open connection; `gaps` takes down what cannot be read."""
    gaps = gaps or Gaps()
    line = line_of(connection, query.run_id)
    return draw(connection, pieces_of(connection, line, query.wanted, gaps), query.limit, gaps)


def _attempts(connection: sqlite3.Connection, query: SeriesQuery, gaps: Gaps) -> list[AttemptView]:
    line, wanted = line_of(connection, query.run_id), query.wanted
    number = series_of(connection, line[0].run, wanted) if line else None
    if number is None:
        return []
    ids = dict(connection.execute("SELECT number, id FROM writers WHERE run = ?", (line[0].run,)).fetchall())
    found = [
        (writer, within(writer, attempt, wanted.low, wanted.high))
        for generation in generations(connection, line[0], number, gaps)
        for writer, own in generation.items()
        for attempt in own
    ]
    return [
        {"attempt": place, "writer_id": ids[writer], "points": points_of(draw(connection, pieces, query.limit, gaps))}
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
