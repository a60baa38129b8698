"""All SQL that reads. Every function opens the file read-only for itself, so any thread, or a process without a server,
may call it; none ever waits for the writer."""

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import orjson

from flashtrial.protocol.records import JsonValue
from flashtrial.server.intervals import IntervalSet
from flashtrial.server.records import SeriesKind
from flashtrial.server.run_query import BadCursor, BadFilter, RunQuery, know_configs, sql_of, value_at
from flashtrial.server.run_words import Columns, Of, columns
from flashtrial.server.series_views import Number, metric_names, metric_points
from flashtrial.server.storage.reading import reading
from flashtrial.server.storage.series_rows import shown

__all__ = [
    "BadCursor",
    "BadFilter",
    "RunQuery",
    "metric_names",
    "metric_points",
    "reading",
]  # what others ask here for, kept in modules of their own

MAX_PAGE = 1000


class RunView(TypedDict):
    """A run as every list of runs shows it. Times are those of its records, in milliseconds since the epoch."""

    id: str
    project: str
    name: str
    status: str
    tags: list[str]
    config: dict[str, JsonValue]
    summary: dict[str, Number]
    points: dict[str, int]
    created_ms: int
    updated_ms: int


class Fork(TypedDict):
    """Where a run begins: behind this step of that run; behind its last where none is named."""

    run_id: str
    step: int | None


class WriterView(TypedDict):
    """A process that wrote, or writes, to the run. `heard_ms` is the server's own time of its last sign of life."""

    writer_id: str
    role: str | None
    state: str | None
    host: str | None
    reason: str | None
    heard_ms: int


class _Facts(TypedDict):
    host: str | None
    reason: str | None
    last_seen_ms: int
    fork: Fork | None
    writers: list[WriterView]


class RunDetail(RunView, _Facts):
    """A run with what only its own page asks for. `last_seen_ms` is the server's time of its last request."""


class RunPage(TypedDict):
    """Runs, newest first, and where the next page starts."""

    runs: list[RunView]
    next: str | None


class ConsoleLine(TypedDict):
    """One printed line; `id` ascends in the order of arrival."""

    id: int
    time_ms: int
    stream: str
    line: int
    text: str


class WriterCount(TypedDict):
    """What arrived from one writer. Nothing is missing when `stored` is `max_seq`."""

    writer_id: str
    stored: int
    max_seq: int
    doubled: int


def read_runs(db_path: Path, *, limit: int = 1000, project: str | None = None) -> list[RunView]:
    """The newest runs, straight from disk, whether a server runs or not; none when there is no database yet.

    Raises `DatabaseFromTheFuture` when a newer flashtrial wrote it.
    """
    return page_of_runs(db_path, RunQuery(limit, project=project))["runs"]


def page_of_runs(db_path: Path, query: RunQuery) -> RunPage:
    """One page of runs, in all their columns. Raises `BadCursor`, `BadFilter`."""
    sql = sql_of(query)
    with reading(db_path) as connection:
        know_configs(connection)
        rows = connection.execute(
            f"SELECT {_COLUMNS}, {sql.key or 'NULL'} FROM runs {sql.where} ORDER BY {sql.order} LIMIT :limit",  # noqa: S608 - our own words
            sql.parameters,
        ).fetchall()
        more = len(rows) > query.limit
        del rows[query.limit :]
        runs = [_run_view(connection, row) for row in rows]
    return {"runs": runs, "next": sql.next_cursor(rows[-1][_CREATED], rows[-1][0], rows[-1][-1]) if more else None}


def rows_of_runs(db_path: Path, query: RunQuery) -> dict[str, object]:
    """The same page, each run in those columns alone that the query names."""
    wanted = columns(query.fields)
    page = page_of_runs(db_path, query)
    return {**page, "runs": [_chosen(run, wanted) for run in page["runs"]] if query.fields else page["runs"]}


def _chosen(run: RunView, wanted: Columns) -> dict[str, object]:
    """Single values of config and metrics stand in ``config`` and ``summary`` under the names asked for."""
    values: dict[str, object] = dict(run)
    row = {name: values[name] for name in wanted.names}
    for each in wanted.fields:
        column, found = (
            ("config", value_at(run["config"], each.paths))
            if each.of is Of.CONFIG
            else ("summary", run["summary"].get(each.name))
        )
        if column not in wanted.names:
            own = row.setdefault(column, {})
            assert isinstance(own, dict)
            own.update({} if found is None else {each.name: found})
    return row


def read_run(db_path: Path, run_id: str) -> RunDetail | None:
    """One run, or None when there is none with this id."""
    with reading(db_path) as connection:
        return run_detail(connection, run_id)


def run_detail(connection: sqlite3.Connection, run_id: str) -> RunDetail | None:
    """The same from an open connection."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, host, reason, last_seen_ms, fork_run, fork_step FROM runs WHERE id = ?",  # noqa: S608 - our own words
        (run_id,),
    ).fetchone()
    if row is None:
        return None
    view = _run_view(connection, row)
    writers = _writers_of(connection, row[0])
    host, reason, last_seen_ms, fork_run, fork_step = row[-5:]
    fork: Fork | None = None if fork_run is None else {"run_id": fork_run, "step": fork_step}
    facts: _Facts = {"host": host, "reason": reason, "last_seen_ms": last_seen_ms, "fork": fork, "writers": writers}
    return {**view, **facts}


def _writers_of(connection: sqlite3.Connection, run: int) -> list[WriterView]:
    rows = connection.execute(
        "SELECT id, role, beat, host, gone_reason, heard_ms FROM writers WHERE run = ? ORDER BY number LIMIT ?",
        (run, MAX_PAGE),
    )
    return [
        {"writer_id": each, "role": role, "state": beat, "host": host, "reason": reason, "heard_ms": heard_ms}
        for each, role, beat, host, reason, heard_ms in rows
    ]


def run_exists(db_path: Path, run_id: str) -> bool:
    """Whether there is a run with this id."""
    with reading(db_path) as connection:
        return has_run(connection, run_id)


def has_run(connection: sqlite3.Connection, run_id: str) -> bool:
    """The same from an open connection."""
    return connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None


@dataclass(frozen=True, slots=True)
class ConsoleQuery:
    """Which lines of a run: behind the id `after`, or the last ones ahead of `before`; `search` is a part of them."""

    run_id: str
    after: int = 0
    before: int | None = None
    limit: int = MAX_PAGE
    stream: str | None = None
    search: str | None = None


def console_lines(db_path: Path, run_id: str, *, after: int = 0, limit: int = MAX_PAGE) -> list[ConsoleLine]:
    """The run's lines in the order of arrival, those behind the line with id `after`."""
    return find_lines(db_path, ConsoleQuery(run_id, after, limit=limit))


def find_lines(db_path: Path, query: ConsoleQuery) -> list[ConsoleLine]:
    """The lines in the order of arrival."""
    with reading(db_path) as connection:
        return lines_of(connection, query)


def lines_of(connection: sqlite3.Connection, query: ConsoleQuery) -> list[ConsoleLine]:
    """The same from an open connection."""
    order = "ASC" if query.before is None else "DESC"
    rows = connection.execute(
        "SELECT number, time_ms, stream, line, text FROM console "  # noqa: S608 - our own words
        "WHERE run = (SELECT number FROM runs WHERE id = :run_id) AND number > :after "
        "AND number < coalesce(:before, 9223372036854775807) AND (:stream IS NULL OR stream = :stream) "
        f"AND (:search IS NULL OR instr(text, :search)) ORDER BY number {order} LIMIT :limit",
        asdict(query),
    ).fetchall()
    return [
        {"id": number, "time_ms": time_ms, "stream": stream, "line": line, "text": text}
        for number, time_ms, stream, line, text in sorted(rows)
    ]


def verify_counts(db_path: Path, run_id: str) -> list[WriterCount]:
    """What is stored of each writer of the run, proved by sequence numbers; empty when there is no such run.

    `doubled` counts console lines that share a sequence number; of the other kinds a table's key forbids it.
    """
    with reading(db_path) as connection:
        writers = connection.execute(
            "SELECT writers.number, writers.id, taken FROM writers JOIN runs ON runs.number = run "
            "WHERE runs.id = ? ORDER BY writers.number",
            (run_id,),
        ).fetchall()
        doubled = dict(
            connection.execute(
                "SELECT writer, count(*) - count(DISTINCT seq) FROM console "
                "WHERE run = (SELECT number FROM runs WHERE id = ?) GROUP BY writer",
                (run_id,),
            ).fetchall()
        )
    taken = [(number, writer_id, IntervalSet.decode(blob)) for number, writer_id, blob in writers]
    return [
        {"writer_id": writer_id, "stored": len(seqs), "max_seq": seqs.highest, "doubled": doubled.get(number, 0)}
        for number, writer_id, seqs in taken
    ]


def runs_by_status(db_path: Path) -> dict[str, int]:
    """How many runs stand where."""
    with reading(db_path) as connection:
        return dict(connection.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())


_COLUMNS = "number, id, project, name, status, tags, config, created_ms, updated_ms, summary, counts"
_CREATED = 7


def _run_view(connection: sqlite3.Connection, row: Sequence[Any]) -> RunView:
    """The run in a row that begins with `_COLUMNS`."""
    number, run_id, project, name, status, tags, config, created_ms, updated_ms, summary, counts, *_ = row
    last, points = _series_of(connection, number) if summary is None else (orjson.loads(summary), orjson.loads(counts))
    return {
        "id": run_id,
        "project": project,
        "name": name,
        "status": status,
        "tags": orjson.loads(tags),
        "config": orjson.loads(config),
        "summary": last,
        "points": points,
        "created_ms": created_ms,
        "updated_ms": updated_ms,
    }


def _series_of(connection: sqlite3.Connection, run: int) -> tuple[dict[str, Number], dict[str, int]]:
    """Last values and counts of a run that has more metrics than its row holds."""
    rows = connection.execute(
        "SELECT name, points, last_value FROM series WHERE run = ? AND kind = ? ORDER BY name", (run, SeriesKind.METRIC)
    ).fetchall()
    return {name: shown(value) for name, _, value in rows}, {name: points for name, points, _ in rows}
