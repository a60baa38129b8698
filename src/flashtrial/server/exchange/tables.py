"""Runs as tables for other programs, in CSV or Parquet, and back.

Tables say what a run is and what it logged, not who told it: taken in again, its state, config and tags come from one
writer named `imported`. Parquet needs pyarrow, which is asked for only here.
"""

import csv
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.records import not_finite_name

Row: TypeAlias = dict[str, Any]

_ROWS_AT_ONCE = 100_000
WRITER = "imported"


class NoPyarrow(FlashtrialError):
    """Raised when Parquet is asked for where pyarrow is not installed: pip install 'flashtrial[parquet]'."""

    def __init__(self) -> None:
        super().__init__("Parquet needs pyarrow: pip install 'flashtrial[parquet]', or take --format csv")


@dataclass(frozen=True, slots=True)
class Table:
    """A table's name and its columns: True for whole numbers, False for texts, None for a value that may be either."""

    name: str
    columns: dict[str, bool | None]


RUNS = Table(
    "runs",
    {
        **dict.fromkeys(("run_id", "project", "name", "status", "tags", "config", "host", "reason"), False),
        **dict.fromkeys(("created_ms", "updated_ms"), True),
    },
)
METRICS = Table(
    "metrics",
    {
        **dict.fromkeys(("run_id", "kind", "name", "writer_id"), False),
        **dict.fromkeys(("seq", "step", "time_ms"), True),
        "value": None,
    },
)
CONSOLE = Table(
    "console",
    {
        **dict.fromkeys(("run_id", "writer_id", "stream", "text"), False),
        **dict.fromkeys(("seq", "time_ms", "line"), True),
    },
)
DATA = Table(
    "data",
    {**dict.fromkeys(("run_id", "writer_id", "kind", "body"), False), **dict.fromkeys(("seq", "time_ms"), True)},
)
TABLES = (RUNS, METRICS, CONSOLE, DATA)


def run_row(connection: sqlite3.Connection, run_id: str) -> Row:
    """The run as a row of `RUNS`."""
    names = [name for name in RUNS.columns if name != "run_id"]
    row = connection.execute(f"SELECT {', '.join(names)} FROM runs WHERE id = ?", (run_id,)).fetchone()  # noqa: S608 - our own words
    return {"run_id": run_id, **dict(zip(names, row, strict=True))}


def rows_of(record: Row) -> Iterator[tuple[str, Row]]:
    """A record as rows, each behind its table's name; of records that the runs' own rows tell, none."""
    base = {name: record[name] for name in ("run_id", "writer_id", "seq", "time_ms")}
    body = record["body"]
    match record["kind"]:
        case "metric" | "system" as kind:
            for name, value in body["values"].items():
                yield METRICS.name, {**base, "kind": kind, "name": name, "step": body["step"], "value": value}
        case "console":
            yield CONSOLE.name, {**base, **body}
        case "data" | "file" as kind:
            yield DATA.name, {**base, "kind": kind, "body": orjson.dumps(body).decode()}


def records_from(table: str, rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of a table as records for JSON ingest; rows of one metric record must follow each other."""
    match table:
        case RUNS.name:
            for row in rows:
                yield from _states(row)
        case METRICS.name:
            keys = ("run_id", "writer_id", "seq", "kind", "time_ms", "step")
            for key, group in groupby(rows, key=lambda row: tuple(row[name] for name in keys)):
                *head, step = key
                body = {"step": step, "values": {row["name"]: _named(row["value"]) for row in group}}
                yield {**dict(zip(keys, head, strict=False)), "body": body}
        case CONSOLE.name:
            for row in rows:
                body = {name: row.pop(name) for name in ("stream", "line", "text")}
                yield {**row, "kind": "console", "body": body}
        case DATA.name:
            for row in rows:
                yield {**row, "body": orjson.loads(row["body"])}


def _named(value: float | str) -> float | str:
    """A value as JSON has it."""
    return value if isinstance(value, str) or math.isfinite(value) else not_finite_name(value)


def _states(row: Row) -> Iterator[Row]:
    base = {"run_id": row["run_id"], "writer_id": WRITER, "kind": "state"}
    body = {name: row[name] for name in ("project", "name", "host", "reason") if row[name]}
    body |= {"tags": orjson.loads(row["tags"]), "config": orjson.loads(row["config"]), "status": RunStatus.RUNNING}
    yield {**base, "seq": 1, "time_ms": row["created_ms"], "body": body}
    ended = {"status": row["status"], "reason": row["reason"] or None}
    yield {**base, "seq": 2, "time_ms": row["updated_ms"], "body": ended}


Writer: TypeAlias = Callable[[Path, Table, Iterable[Row]], None]


def write_csv(path: Path, table: Table, rows: Iterable[Row]) -> None:
    """The rows as CSV with a heading; floats are written so that they are read back bit by bit."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table.columns))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path, table: Table) -> Iterator[Row]:
    """The rows that `write_csv` wrote. Raises ValueError, KeyError, TypeError and `csv.Error` for others."""
    csv.field_size_limit(2**31 - 1)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, strict=True):
            yield {name: _parsed(row[name], is_whole) for name, is_whole in table.columns.items()}
    if not _ends_in_a_line(path):
        raise ValueError(f"{path.name} ends inside a line")


def _ends_in_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(1, path.stat().st_size), os.SEEK_END)
        return file.read(1) in (b"\n", b"\r")


def _parsed(text: str | None, is_whole: bool | None) -> Any:
    if text is None:
        raise ValueError("a row has too few columns")
    if is_whole is None:
        return {"NaN": text, "Infinity": text, "-Infinity": text}.get(text) or float(text)
    return int(text) if is_whole else text


def write_parquet(path: Path, table: Table, rows: Iterable[Row]) -> None:
    """The rows as Parquet, zstd. Raises `NoPyarrow`."""
    pa, parquet = _pyarrow()
    kinds = {True: pa.int64(), False: pa.string(), None: pa.float64()}
    schema = pa.schema([(name, kinds[is_whole]) for name, is_whole in table.columns.items()])
    rows = iter(rows)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            columns = {name: [_plain(row[name], is_whole) for row in some] for name, is_whole in table.columns.items()}
            writer.write_table(pa.table(columns, schema=schema))


def read_parquet(path: Path, table: Table) -> Iterator[Row]:
    """The rows that `write_parquet` wrote. Raises `NoPyarrow`."""
    _, parquet = _pyarrow()
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(table.columns)):
            yield from batch.to_pylist()


def _plain(value: Any, is_whole: bool | None) -> Any:
    return float(value) if is_whole is None else value


def _pyarrow() -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional dependency
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise NoPyarrow from error
    return pa, parquet
