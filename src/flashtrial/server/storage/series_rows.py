"""SQL that writes series: their points, count and last value, and the summary that a list of runs shows of them."""

import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from flashtrial.server.records import PointsRecord, SeriesKind, not_finite_name
from flashtrial.server.storage.columns import Columns
from flashtrial.server.storage.point_store import Tail, append

# A run's own row shows no more series than these: rewriting it at each commit must stay cheap.
MAX_SUMMARY = 256


def store_points(connection: sqlite3.Connection, run: int, writer: int, records: Sequence[PointsRecord]) -> None:
    """Store the points of new records of one writer."""
    if not records:
        return
    for (kind, names), group in _alike(records).items():
        for name, columns in zip(names, _columns(group, len(names)), strict=True):
            _store_series(connection, _Points(run, writer, kind, name, columns))
    refresh_summary(connection, run)


@dataclass(frozen=True, slots=True)
class _Points:
    """New points of one series by one writer."""

    run: int
    writer: int
    kind: SeriesKind
    name: str
    columns: Columns


def _alike(records: Iterable[PointsRecord]) -> dict[tuple[SeriesKind, tuple[str, ...]], list[PointsRecord]]:
    """Records with the same names: training loops log the same few again and again."""
    found: dict[tuple[SeriesKind, tuple[str, ...]], list[PointsRecord]] = {}
    for record in records:
        found.setdefault((record.kind, record.names), []).append(record)
    return found


def _columns(group: Sequence[PointsRecord], width: int) -> list[Columns]:
    """For each of the names, its points."""
    seqs = np.array([record.seq for record in group], np.int64)
    steps = np.array([record.step for record in group], np.int64)
    times_ms = np.array([record.time_ms for record in group], np.int64)
    values = np.array([record.values for record in group], np.float64).reshape(len(group), width)
    return [Columns(seqs, steps, times_ms, np.ascontiguousarray(values[:, place])) for place in range(width)]


def _store_series(connection: sqlite3.Connection, points: _Points) -> None:
    """Append a series' points, and bring its count and last value up to date."""
    row = {"run": points.run, "kind": points.kind, "name": points.name, "points": len(points.columns)}
    (series,) = connection.execute(_UPSERT, row).fetchone()
    tail = Tail(series, points.writer)
    append(connection, tail, points.columns)
    mark_last(connection, tail, points.columns)
    choose_last(connection, series)


_UPSERT = (
    "INSERT INTO series (run, kind, name, points, last_time_ms, last_step) VALUES (:run, :kind, :name, :points, 0, 0) "
    "ON CONFLICT (run, kind, name) DO UPDATE SET points = points + excluded.points RETURNING number"
)


def mark_last(connection: sqlite3.Connection, tail: Tail, columns: Columns) -> None:
    """Note the writer's last point where it is among these. Its numbers tell, whatever its clock did."""
    last = int(np.argmax(columns.seqs))
    value = float(columns.values[last])
    connection.execute(
        "UPDATE curves SET last_seq = ?1, last_time_ms = ?2, last_step = ?3, last_value = ?4 "
        "WHERE series = ?5 AND writer = ?6 AND last_seq < ?1",
        (
            int(columns.seqs[last]),
            int(columns.times_ms[last]),
            int(columns.steps[last]),
            None if math.isnan(value) else value,
            tail.series,
            tail.writer,
        ),
    )


def choose_last(connection: sqlite3.Connection, series: int) -> None:
    """Of the last points of its writers, the series' is the latest; of two at one time and step, the id decides."""
    connection.execute(
        "UPDATE series SET (last_time_ms, last_step, last_value) = (SELECT last_time_ms, last_step, last_value "
        "FROM curves JOIN writers ON writers.number = writer WHERE series = ?1 "
        "ORDER BY last_time_ms - ahead_ms DESC, last_step DESC, writers.id DESC LIMIT 1) WHERE number = ?1",
        (series,),
    )


def refresh_summary(connection: sqlite3.Connection, run: int) -> None:
    """Write the counts and last values of the run's metrics into its own row, where they are few enough."""
    rows = connection.execute(
        "SELECT name, points, last_value FROM series WHERE run = ? AND kind = ? ORDER BY name LIMIT ?",
        (run, SeriesKind.METRIC, MAX_SUMMARY + 1),
    ).fetchall()
    few = len(rows) <= MAX_SUMMARY
    summary = orjson.dumps({name: shown(value) for name, _, value in rows}).decode() if few else None
    counts = orjson.dumps({name: points for name, points, _ in rows}).decode() if few else None
    connection.execute("UPDATE runs SET summary = ?, counts = ? WHERE number = ?", (summary, counts, run))


def shown(value: float | None) -> float | str:
    """A last value as answers have it; NULL stands for NaN."""
    if value is None:
        return "NaN"
    return value if math.isfinite(value) else not_finite_name(value)
