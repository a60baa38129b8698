"""SQL that writes one batch: its records, each at most once by (run, writer, sequence number).

The sequence numbers taken are an interval set per writer, changed in the transaction that stores the records, so a
request may be repeated, cut and reordered at will. Nothing is kept in memory between two batches.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flashtrial.server.control.report_rows import take_reports
from flashtrial.server.files.rows import store_files
from flashtrial.server.ingest_body import ParsedBatch, Refusal
from flashtrial.server.intervals import IntervalSet
from flashtrial.server.liveness import Silence
from flashtrial.server.records import (
    ChangeRecord,
    ConsoleRecord,
    DocumentRecord,
    FileRecord,
    PointsRecord,
    StoredRecord,
)
from flashtrial.server.run_facts import DEFAULT_PROJECT
from flashtrial.server.storage import run_rows, series_rows
from flashtrial.server.storage.removal import was_removed
from flashtrial.server.storage.run_rows import RunKey


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one batch: everything not in `refused`, and not behind the `error`, is stored and committed."""

    run_id: str
    writer_id: str
    stored: int
    duplicates: int
    refused: tuple[Refusal, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a batch came by our own clock, who is silent then, and how far its sender's clock is ahead of ours."""

    now_ms: int
    silence: Silence = field(default_factory=Silence)
    ahead_ms: int = 0


def store_batch(connection: sqlite3.Connection, batch: ParsedBatch, arrival: Arrival) -> BatchResult:
    """Store what is new in the batch."""
    if not batch.records:
        _hear(connection, batch, arrival)
        return BatchResult(batch.run_id, batch.writer_id, 0, 0, batch.refused, batch.error)
    if _is_gone(connection, batch.run_id):
        gone = tuple(Refusal(record.seq, "the run was removed") for record in batch.records)
        return BatchResult(batch.run_id, batch.writer_id, 0, 0, (*batch.refused, *gone), batch.error)
    run = _run(connection, batch, arrival.now_ms)
    writer, taken = _writer(connection, run, batch.writer_id, arrival.ahead_ms)
    fresh = [record for record in batch.records if taken.add(record.seq)]
    if fresh:
        _mark_heard(connection, writer, taken, fresh, arrival.now_ms)
        _store_records(connection, run, writer, fresh)
        _touch(connection, run, fresh)
        run_rows.settle(connection, run.number, arrival.silence)
    duplicates = len(batch.records) - len(fresh)
    return BatchResult(batch.run_id, batch.writer_id, len(fresh), duplicates, batch.refused, batch.error)


def _hear(connection: sqlite3.Connection, batch: ParsedBatch, arrival: Arrival) -> None:
    """A sign of life of a client without heartbeats; it creates nothing."""
    row = connection.execute(
        "UPDATE runs SET last_seen_ms = ? WHERE id = ? RETURNING number", (arrival.now_ms, batch.run_id)
    ).fetchone()
    if row is not None:
        connection.execute(
            "UPDATE writers SET heard_ms = ? WHERE run = ? AND id = ? AND beat IS NULL",
            (arrival.now_ms, *row, batch.writer_id),
        )
        run_rows.settle(connection, row[0], arrival.silence)


def _is_gone(connection: sqlite3.Connection, run_id: str) -> bool:
    known = connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone()
    return known is None and was_removed(connection, run_id)


def _run(connection: sqlite3.Connection, batch: ParsedBatch, now_ms: int) -> RunKey:
    """The run's own key; the run is created where it is not known yet."""
    time_ms = batch.records[0].time_ms
    (number,) = connection.execute(
        "INSERT INTO runs (id, project, name, status, tags, config, created_ms, updated_ms, last_seen_ms) "
        "VALUES (:id, :project, :id, 'created', '[]', '{}', :time_ms, :time_ms, :now_ms) "
        "ON CONFLICT (id) DO UPDATE SET last_seen_ms = excluded.last_seen_ms RETURNING number",
        {"id": batch.run_id, "project": DEFAULT_PROJECT, "time_ms": time_ms, "now_ms": now_ms},
    ).fetchone()
    return RunKey(number, batch.run_id)


def _writer(connection: sqlite3.Connection, run: RunKey, writer_id: str, ahead_ms: int) -> tuple[int, IntervalSet]:
    """The writer's key and what was taken of it. How far its clock is ahead is what its first request says."""
    row = connection.execute(
        "SELECT number, taken FROM writers WHERE run = ? AND id = ?", (run.number, writer_id)
    ).fetchone()
    if row:
        return row[0], IntervalSet.decode(row[1])
    (number,) = connection.execute(
        "INSERT INTO writers (run, id, taken, ahead_ms) VALUES (?, ?, x'', ?) RETURNING number",
        (run.number, writer_id, ahead_ms),
    ).fetchone()
    return number, IntervalSet()


def _mark_heard(
    connection: sqlite3.Connection, writer: int, taken: IntervalSet, fresh: Sequence[StoredRecord], now_ms: int
) -> None:
    """Something new of a writer says that it is not gone. Its first time orders it among resumptions."""
    connection.execute(
        "UPDATE writers SET taken = :taken, heard_ms = :now_ms, gone_reason = NULL, "
        "beat = CASE beat WHEN 'gone' THEN 'alive' ELSE beat END, "
        "first_ms = CASE first_ms WHEN 0 THEN :first_ms ELSE min(first_ms, :first_ms) END, "
        "last_ms = max(last_ms, :last_ms) WHERE number = :number",
        {
            "taken": taken.encode(),
            "now_ms": now_ms,
            "first_ms": min(record.time_ms for record in fresh),
            "last_ms": max(record.time_ms for record in fresh),
            "number": writer,
        },
    )


def _store_records(connection: sqlite3.Connection, run: RunKey, writer: int, fresh: Sequence[StoredRecord]) -> None:
    points = [record for record in fresh if isinstance(record, PointsRecord)]
    series_rows.store_points(connection, run.number, writer, points)
    if len(points) < len(fresh):
        _store_others(connection, run, writer, fresh)


def _store_others(connection: sqlite3.Connection, run: RunKey, writer: int, fresh: Sequence[StoredRecord]) -> None:
    """What is no number."""
    console = [record for record in fresh if isinstance(record, ConsoleRecord)]
    documents = [record for record in fresh if isinstance(record, DocumentRecord)]
    files = [record for record in fresh if isinstance(record, FileRecord)]
    _store_console(connection, run.number, writer, console)
    connection.executemany(
        "INSERT INTO documents (run, writer, seq, kind, name, step, time_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((run.number, writer, r.seq, r.kind, r.name, r.step, r.time_ms, r.body) for r in documents),
    )
    take_reports(connection, run.id, documents)
    store_files(connection, run.number, writer, files)
    run_rows.store_changes(connection, run, writer, [record for record in fresh if isinstance(record, ChangeRecord)])


def _store_console(connection: sqlite3.Connection, run: int, writer: int, records: Iterable[ConsoleRecord]) -> None:
    connection.executemany(
        "INSERT INTO console (run, writer, seq, time_ms, stream, line, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((run, writer, r.seq, r.time_ms, r.stream, r.line, r.text) for r in records),
    )


def _touch(connection: sqlite3.Connection, run: RunKey, fresh: Sequence[StoredRecord]) -> None:
    times = [record.time_ms for record in fresh]
    connection.execute(
        "UPDATE runs SET created_ms = min(created_ms, ?), updated_ms = max(updated_ms, ?) WHERE number = ?",
        (min(times), max(times), run.number),
    )
