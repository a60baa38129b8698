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
    (writers,) = connection.execute("SELECT count(*) FROM writers WHERE run = ?", (run,)).fetchone()
    for (kind, names), group in _alike(records).items():
        for name, columns in zip(names, _columns(group, len(names)), strict=True):
            _store_series(connection, _Points(run, writer, kind, name, columns), is_alone=writers == 1)
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
    group: list[PointsRecord] = []
    for record in records:
        if not group or record.names is not group[-1].names or record.kind is not group[-1].kind:
            group = found.setdefault((record.kind, record.names), [])
        group.append(record)
    return found


def _columns(group: Sequence[PointsRecord], width: int) -> list[Columns]:
    """For each of the names, its points."""
    seqs, times_ms, _, steps, _, values = zip(*group, strict=True)
    shared = np.array(seqs, np.int64), np.array(steps, np.int64), np.array(times_ms, np.int64)
    by_name = np.array(values, np.float64).reshape(len(group), width)
    return [Columns(*shared, np.ascontiguousarray(by_name[:, place])) for place in range(width)]


def _store_series(connection: sqlite3.Connection, points: _Points, *, is_alone: bool) -> None:
    """Append a series' points, and bring its count and last value up to date; `is_alone`: nobody else has any."""
    row = {"run": points.run, "kind": points.kind, "name": points.name, "points": len(points.columns)}
    (series,) = connection.execute(_UPSERT, row).fetchone()
    last = append(connection, Tail(series, points.writer), points.columns)
    if is_alone:
        connection.execute(
            "UPDATE series SET last_time_ms = ?, last_step = ?, last_value = ? WHERE number = ?",
            (last.time_ms, last.step, last.value, series),
        )
    else:
        choose_last(connection, series)


_UPSERT = (
    "INSERT INTO series (run, kind, name, points, last_time_ms, last_step) VALUES (:run, :kind, :name, :points, 0, 0) "
    "ON CONFLICT (run, kind, name) DO UPDATE SET points = points + excluded.points RETURNING number"
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
