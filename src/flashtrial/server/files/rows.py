"""The rows of the table `files`, and of data that is no number: written by the repository, read by the routes.

Reading opens the database read-only for itself, as `flashtrial.server.views` does; any thread may.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import orjson

from flashtrial.protocol.records import JsonValue
from flashtrial.server.records import MAX_INT64, FileRecord
from flashtrial.server.views import reading


class FileView(TypedDict):
    """A logged file as lists show it. `is_pending` while its bytes are not here; `index` is its place in a list."""

    id: int
    name: str
    step: int | None
    index: int
    type: str
    sha256: str
    size: int
    mime: str
    file_name: str
    caption: str | None
    meta: dict[str, JsonValue]
    time_ms: int


class DatumView(TypedDict):
    """A table, a histogram, a graph, or one entry of a string series; `value` is what the client logged."""

    name: str
    type: str
    step: int | None
    time_ms: int
    value: JsonValue


@dataclass(frozen=True, slots=True)
class FileQuery:
    """Which files of a run, and after which id; `limit` is 1 to 1000."""

    run_id: str
    name: str | None = None
    type: str | None = None
    after: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class DataQuery:
    """Which data of a run, `offset` of them left out; `limit` is 1 to 1000."""

    run_id: str
    name: str | None = None
    type: str | None = None
    offset: int = 0
    limit: int = 100


def store_files(connection: sqlite3.Connection, run: int, writer: int, records: Iterable[FileRecord]) -> None:
    """Insert file records, inside the transaction of their request."""
    connection.executemany(
        "INSERT INTO files (run, writer, seq, time_ms, name, step, position, type, sha256, size, mime, file_name, "
        "caption, meta) VALUES (:run, :writer, :seq, :time_ms, :name, :step, :position, :type, :sha256, :size_bytes, "
        ":mime, :file_name, :caption, :meta)",
        ({**asdict(record), "run": run, "writer": writer, "meta": record.meta.decode()} for record in records),
    )


def list_files(db_path: Path, query: FileQuery) -> list[FileView]:
    """The run's files by id, which ascends in the order of arrival."""
    with reading(db_path) as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM files WHERE run = (SELECT number FROM runs WHERE id = :run_id) "  # noqa: S608 - our own words
            "AND number > :after AND (:name IS NULL OR name = :name) AND (:type IS NULL OR type = :type) "
            "ORDER BY number LIMIT :limit",
            asdict(query),
        ).fetchall()
    return [_view(row) for row in rows]


def read_file(db_path: Path, run_id: str, file_id: int) -> FileView | None:
    """One file of a run; None when the run has none with this id."""
    with reading(db_path) as connection:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM files WHERE number = ? AND run = (SELECT number FROM runs WHERE id = ?)",  # noqa: S608 - our own words
            (min(file_id, MAX_INT64), run_id),
        ).fetchone()
    return None if row is None else _view(row)


def run_bytes(db_path: Path, run_id: str, *, without: str = "") -> int:
    """What the contents of a run's files have together, each once; the blob `without` is left out."""
    with reading(db_path) as connection:
        (total,) = connection.execute(
            "SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT sha256, size FROM files "
            "WHERE run = (SELECT number FROM runs WHERE id = ?) AND sha256 != ?)",
            (run_id, without),
        ).fetchone()
    assert isinstance(total, int)
    return total


def named_hashes(db_path: Path) -> set[str]:
    """Every SHA-256 that a file record names: what a clean-up of the blob store must keep."""
    with reading(db_path) as connection:
        return {sha256 for (sha256,) in connection.execute("SELECT DISTINCT sha256 FROM files")}


def list_data(db_path: Path, query: DataQuery) -> list[DatumView]:
    """The run's data by time, then by writer and sequence number."""
    with reading(db_path) as connection:
        rows = connection.execute(
            "SELECT name, step, time_ms, body FROM documents "
            "WHERE run = (SELECT number FROM runs WHERE id = :run_id) AND kind = 'data' "
            "AND (:name IS NULL OR name = :name) "
            "AND (:type IS NULL OR json_extract(CAST(body AS TEXT), '$.type') = :type) "
            "ORDER BY time_ms, writer, seq LIMIT :limit OFFSET :offset",
            asdict(query),
        ).fetchall()
    return [_datum(*row) for row in rows]


_COLUMNS = "number, name, step, position, type, sha256, size, mime, file_name, caption, meta, time_ms"


def _view(row: Sequence[Any]) -> FileView:
    number, name, step, position, kind, sha256, size, mime, file_name, caption, meta, time_ms = row
    return {
        "id": number,
        "name": name,
        "step": step,
        "index": position,
        "type": kind,
        "sha256": sha256,
        "size": size,
        "mime": mime,
        "file_name": file_name,
        "caption": caption,
        "meta": orjson.loads(meta),
        "time_ms": time_ms,
    }


def _datum(name: str, step: int | None, time_ms: int, body: bytes) -> DatumView:
    fields = orjson.loads(body)
    return {
        "name": name,
        "type": str(fields.get("type", "")),
        "step": step,
        "time_ms": time_ms,
        "value": fields.get("value"),
    }
