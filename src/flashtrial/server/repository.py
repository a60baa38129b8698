"""All SQL that writes: whole ingest requests, each record at most once by (run, writer, sequence number).

The sequence numbers taken are an interval set per writer, changed in the transaction that stores the records, so a
request may be repeated, cut and reordered at will. Nothing is kept in memory between transactions.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from flashtrial.core import files, sqlite
from flashtrial.core.clock import Clock
from flashtrial.protocol.records import RecordKind
from flashtrial.server.commit_queue import CommitQueue
from flashtrial.server.files.rows import store_files
from flashtrial.server.ingest_body import ParsedBatch, Refusal
from flashtrial.server.intervals import IntervalSet
from flashtrial.server.records import (
    ChangeRecord,
    ConsoleRecord,
    DocumentRecord,
    FileRecord,
    PointsRecord,
    SeriesKind,
    StoredRecord,
)
from flashtrial.server.run_facts import DEFAULT_PROJECT, Change, fold
from flashtrial.server.schema import MIGRATIONS

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one batch: everything not in `refused`, and not behind the `error`, is stored and committed."""

    run_id: str
    writer_id: str
    stored: int
    duplicates: int
    refused: tuple[Refusal, ...] = ()
    error: str | None = None


class Repository:
    """The one writer of ``server.db``. `start` opens the file and its thread, `stop` commits what waits and ends both.

    `on_change` is called on the writer's thread, after the commit, with the ids of the runs that got something new.
    """

    def __init__(self, path: Path, clock: Clock, on_change: Callable[[frozenset[str]], None]) -> None:
        self._path = path
        self._clock = clock
        self._on_change = on_change
        self._connection: sqlite3.Connection | None = None
        self._queue: CommitQueue[Sequence[ParsedBatch], list[BatchResult]] = CommitQueue(
            self._commit, self._open, self._close
        )

    def start(self) -> None:
        """Create or migrate the database and start the thread. Raises `DatabaseFromTheFuture`, `sqlite3.Error`."""
        self._queue.start()

    def stop(self) -> None:
        """Commit what was submitted and close the database. May be called twice."""
        self._queue.stop()

    @property
    def is_ready(self) -> bool:
        """Whether records submitted now will be stored."""
        return self._queue.is_running

    @property
    def waiting(self) -> int:
        """About how many requests wait for their commit."""
        return self._queue.waiting

    def ingest(self, batches: Sequence[ParsedBatch]) -> "Future[list[BatchResult]]":
        """A result for each batch, in their order, once all of them are committed. From any thread, never blocks.

        Raises `QueueFull` or `NotRunning`; the future fails with `sqlite3.Error` when nothing could be stored.
        """
        return self._queue.submit(batches)

    def _open(self) -> None:
        files.ensure_private_dir(self._path.parent)
        self._connection = sqlite.connect(self._path)
        # Acknowledged means committed, and a client deletes what was acknowledged: so synced, too, not only written.
        self._connection.execute("PRAGMA synchronous = FULL")
        sqlite.migrate(self._connection, MIGRATIONS)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _commit(self, requests: Sequence[Sequence[ParsedBatch]]) -> Sequence[list[BatchResult] | Exception]:
        assert self._connection is not None
        changed: set[str] = set()
        with sqlite.transaction(self._connection) as connection:
            results = [self._store_alone(connection, request, changed) for request in requests]
        if changed:
            self._on_change(frozenset(changed))
        return results

    def _store_alone(
        self, connection: sqlite3.Connection, request: Sequence[ParsedBatch], changed: set[str]
    ) -> list[BatchResult] | Exception:
        """Store one request so that a fault in it takes nothing of its neighbours along."""
        connection.execute("SAVEPOINT request")
        try:
            results = [_store_batch(connection, batch, self._clock.time_ms()) for batch in request]
        except (sqlite3.DatabaseError, ValueError, OverflowError) as error:
            if not connection.in_transaction:  # a full disk has rolled back everything already
                raise
            connection.execute("ROLLBACK TO request")
            logger.exception("a request could not be stored", extra={"action": "ingest_failed"})
            return error
        finally:
            if connection.in_transaction:
                connection.execute("RELEASE request")
        changed.update(result.run_id for result in results if result.stored)
        return results


def _store_batch(connection: sqlite3.Connection, batch: ParsedBatch, now_ms: int) -> BatchResult:
    if not batch.records:  # a sign of life; it creates nothing
        connection.execute("UPDATE runs SET last_seen_ms = ? WHERE id = ?", (now_ms, batch.run_id))
        return BatchResult(batch.run_id, batch.writer_id, 0, 0, batch.refused, batch.error)
    run = _run_number(connection, batch, now_ms)
    writer, taken = _writer(connection, run, batch.writer_id)
    fresh = [record for record in batch.records if taken.add(record.seq)]
    if fresh:
        connection.execute("UPDATE writers SET taken = ? WHERE number = ?", (taken.encode(), writer))
        _store_records(connection, run, writer, fresh)
        _touch(connection, run, fresh)
    duplicates = len(batch.records) - len(fresh)
    return BatchResult(batch.run_id, batch.writer_id, len(fresh), duplicates, batch.refused, batch.error)


def _run_number(connection: sqlite3.Connection, batch: ParsedBatch, now_ms: int) -> int:
    """The run's own key; the run is created where it is not known yet."""
    time_ms = batch.records[0].time_ms
    return _returned(
        connection,
        "INSERT INTO runs (id, project, name, status, tags, config, created_ms, updated_ms, last_seen_ms) "
        "VALUES (:id, :project, :id, 'created', '[]', '{}', :time_ms, :time_ms, :now_ms) "
        "ON CONFLICT (id) DO UPDATE SET last_seen_ms = excluded.last_seen_ms RETURNING number",
        {"id": batch.run_id, "project": DEFAULT_PROJECT, "time_ms": time_ms, "now_ms": now_ms},
    )


def _writer(connection: sqlite3.Connection, run: int, writer_id: str) -> tuple[int, IntervalSet]:
    row = connection.execute("SELECT number, taken FROM writers WHERE run = ? AND id = ?", (run, writer_id)).fetchone()
    if row:
        return row[0], IntervalSet.decode(row[1])
    sql = "INSERT INTO writers (run, id, taken) VALUES (?, ?, x'') RETURNING number"
    return _returned(connection, sql, (run, writer_id)), IntervalSet()


def _store_records(connection: sqlite3.Connection, run: int, writer: int, fresh: Sequence[StoredRecord]) -> None:
    points = [record for record in fresh if isinstance(record, PointsRecord)]
    console = [record for record in fresh if isinstance(record, ConsoleRecord)]
    changes = [record for record in fresh if isinstance(record, ChangeRecord)]
    documents = [record for record in fresh if isinstance(record, DocumentRecord)]
    file_records = [record for record in fresh if isinstance(record, FileRecord)]
    if points:
        _store_points(connection, run, writer, points)
    connection.executemany(
        "INSERT INTO console (run, writer, seq, time_ms, stream, line, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((run, writer, r.seq, r.time_ms, r.stream, r.line, r.text) for r in console),
    )
    connection.executemany(
        "INSERT INTO documents (run, writer, seq, kind, name, step, time_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((run, writer, r.seq, r.kind, r.name, r.step, r.time_ms, r.body) for r in documents),
    )
    if file_records:
        store_files(connection, run, writer, file_records)
    if changes:
        _store_changes(connection, run, writer, changes)


def _store_points(connection: sqlite3.Connection, run: int, writer: int, records: Iterable[PointsRecord]) -> None:
    by_series: dict[tuple[SeriesKind, str], list[tuple[int, int, int, float]]] = {}
    for record in records:
        for name, value in record.values:
            row = (record.step, record.seq, record.time_ms, value)
            by_series.setdefault((record.kind, name), []).append(row)
    for (kind, name), rows in by_series.items():
        series = _series_number(connection, run, writer, (kind, name), rows)
        connection.executemany(
            "INSERT INTO points (series, writer, step, seq, time_ms, value) VALUES (?, ?, ?, ?, ?, ?)",
            ((series, writer, *row) for row in rows),
        )


def _series_number(
    connection: sqlite3.Connection,
    run: int,
    writer: int,
    series: tuple[SeriesKind, str],
    rows: list[tuple[int, int, int, float]],
) -> int:
    """The key of the series, its count and its last value brought up to date with `rows` of `writer`.

    Of one writer the highest sequence number is the last, whatever its clock did; of several, the latest time.
    """
    step, seq, time_ms, value = max(rows, key=lambda row: row[1])
    last = {"time_ms": time_ms, "step": step, "value": value, "writer": writer, "seq": seq}
    number = _returned(
        connection,
        "INSERT INTO series (run, kind, name, points, last_time_ms, last_step, last_value, last_writer, last_seq) "
        "VALUES (:run, :kind, :name, :points, :time_ms, :step, :value, :writer, :seq) "
        "ON CONFLICT (run, kind, name) DO UPDATE SET points = points + excluded.points RETURNING number",
        {"run": run, "kind": series[0], "name": series[1], "points": len(rows), **last},
    )
    connection.execute(
        "UPDATE series SET last_time_ms = :time_ms, last_step = :step, last_value = :value, last_writer = :writer, "
        "last_seq = :seq WHERE number = :number AND CASE WHEN last_writer = :writer THEN last_seq < :seq "
        "ELSE (last_time_ms, last_step) <= (:time_ms, :step) END",
        {"number": number, **last},
    )
    return number


def _store_changes(connection: sqlite3.Connection, run: int, writer: int, records: Iterable[ChangeRecord]) -> None:
    connection.executemany(
        "INSERT INTO changes (run, writer, seq, time_ms, kind, body) VALUES (?, ?, ?, ?, ?, ?)",
        ((run, writer, r.seq, r.time_ms, r.kind, r.body) for r in records),
    )
    (run_id,) = connection.execute("SELECT id FROM runs WHERE number = ?", (run,)).fetchone()
    facts = fold(run_id, _changes_of(connection, run))
    connection.execute(
        "UPDATE runs SET project = :project, name = :name, status = :status, tags = :tags, config = :config, "
        "host = :host, reason = :reason WHERE number = :number",
        asdict(facts) | {"tags": _text(facts.tags), "config": _text(facts.config), "number": run},
    )


def _changes_of(connection: sqlite3.Connection, run: int) -> list[Change]:
    rows = connection.execute(
        "SELECT writers.id, seq, time_ms, kind, body FROM changes JOIN writers ON writers.number = writer "
        "WHERE changes.run = ?",
        (run,),
    )
    return [Change(who, seq, time_ms, RecordKind(kind), orjson.loads(body)) for who, seq, time_ms, kind, body in rows]


def _touch(connection: sqlite3.Connection, run: int, fresh: Sequence[StoredRecord]) -> None:
    times = [record.time_ms for record in fresh]
    connection.execute(
        "UPDATE runs SET created_ms = min(created_ms, ?), updated_ms = max(updated_ms, ?) WHERE number = ?",
        (min(times), max(times), run),
    )


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _returned(connection: sqlite3.Connection, sql: str, parameters: Sequence[object] | dict[str, object]) -> int:
    """The number that a statement with RETURNING gives back."""
    (number,) = connection.execute(sql, parameters).fetchone()
    assert isinstance(number, int)
    return number
