"""What ``neighbours.db`` holds of runs, as lines of JSON, and back: facts, numbers, MLflow's experiments, lines seen.

What names rows of the home it came from names them otherwise in a line: a file by its record, a run by its id.
"""

import contextlib
import math
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from flashtrial.core import sqlite
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.mlflow.artifacts import GONE
from flashtrial.server.neighbours.mlflow.models import MODELS, masked_model
from flashtrial.server.neighbours.pluto.runs import MAKING
from flashtrial.server.records import NOT_FINITE, not_finite_name

Line: TypeAlias = dict[str, Any]

_EXPERIMENT = ("number", "project", "name", "stage", "tags", "created_ms", "updated_ms")
_NAMES = {
    "fact": ("run_id", "name", "value"),
    "latest": ("run_id", "name", "step", "time_ms", "value"),
    "number": ("run_id", "number"),
    "mlflow_experiment": _EXPERIMENT,
    "stream": ("run_id", "protocol", "writer_id", "next_seq", "seen"),
}
_PARENT = "forkedFromRunId"


def checked(line: Line) -> Line:
    """A line with what it needs. Raises ValueError, KeyError, TypeError."""
    found = {name: line[name] for name in _NAMES[line["is"]]}
    if line["is"] == "stream":
        found["seen"] = [(bytes.fromhex(digest), int(seq)) for digest, seq in line["seen"]]
    return {"is": line["is"], **found}


def masked(line: Line) -> Line:
    """A checked line without the secrets that a server takes out."""
    if line["is"] != "fact" or line["name"] != MODELS or not isinstance(line["value"], dict):
        return line
    models = {name: masked_model(model) if isinstance(model, dict) else model for name, model in line["value"].items()}
    return {**line, "value": models}


def lines_of(path: Path, database: sqlite3.Connection, run_ids: Collection[str], *, all_runs: bool) -> Iterator[Line]:
    """The lines of the runs, of their projects' experiments, and, of a whole export, of experiments without runs."""
    if not path.exists():
        return
    with contextlib.closing(sqlite.connect(path, read_only=True)) as ledger:
        ledger.execute("BEGIN")
        tables = {name for (name,) in ledger.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        chosen = orjson.dumps(list(run_ids)).decode()
        of_runs = "run_id IN (SELECT value FROM json_each(?))"
        if "numbers" in tables:
            yield from _rows("number", ledger, f"SELECT run_id, number FROM numbers WHERE {of_runs}", chosen)  # noqa: S608 - our own words
        if "latest" in tables:
            for line in _rows("latest", ledger, f"SELECT * FROM latest WHERE {of_runs}", chosen):  # noqa: S608 - our own words
                yield {**line, "value": None if line["value"] is None else _shown(line["value"])}
        for line in _rows("fact", ledger, f"SELECT run_id, name, value FROM facts WHERE {of_runs}", chosen):  # noqa: S608 - our own words
            yield {**line, "value": _named_by_records(ledger, database, line["name"], orjson.loads(line["value"]))}
        yield from _streams(ledger, of_runs, chosen)
        for line in _rows("mlflow_experiment", ledger, f"SELECT {', '.join(_EXPERIMENT)} FROM experiments"):  # noqa: S608 - our own words
            if all_runs or line["number"] == 0 or _has_runs(database, line["project"], chosen):
                yield {**line, "tags": orjson.loads(line["tags"])}


def _streams(ledger: sqlite3.Connection, of_runs: str, chosen: str) -> Iterator[Line]:
    (epoch,) = ledger.execute("SELECT value FROM own WHERE name = 'epoch'").fetchone()
    streams = f"SELECT number, run_id, protocol, next_seq FROM streams WHERE {of_runs}"  # noqa: S608 - our own words
    for line in _rows("stream", ledger, streams, chosen):
        seen = ledger.execute("SELECT digest, seq FROM seen WHERE stream = ?", (line.pop("number"),))
        writer_id = f"{line['protocol']}-{epoch.decode()}"
        yield {**line, "writer_id": writer_id, "seen": [(digest.hex(), seq) for digest, seq in seen]}


def _has_runs(database: sqlite3.Connection, project: str, chosen: str) -> bool:
    sql = "SELECT 1 FROM runs WHERE project = ? AND id IN (SELECT value FROM json_each(?))"
    return database.execute(sql, (project, chosen)).fetchone() is not None


def _named_by_records(ledger: sqlite3.Connection, database: sqlite3.Connection, name: str, value: Any) -> Any:
    if name == GONE:
        sql = "SELECT writers.id, seq FROM files JOIN writers ON writers.number = writer WHERE files.number = ?"
        found = {path: database.execute(sql, (number,)).fetchone() for path, number in value.items()}
        return {path: record for path, record in found.items() if record is not None}
    if name == MAKING and value.get(_PARENT) is not None:
        row = ledger.execute("SELECT run_id FROM numbers WHERE number = ?", (value[_PARENT],)).fetchone()
        return {**value, _PARENT: row[0] if row else None}
    return value


def put_in(ledger: Ledger, database: sqlite3.Connection, lines: Iterable[Line], newest: Collection[str]) -> None:
    """Add the lines. What is here of a run stays as it is, but of the runs `newest`, of which the lines know all."""
    with ledger.writing() as connection:
        for line in sorted(lines, key=lambda line: line["is"] != "number"):  # numbers first: forks are told by them
            match line["is"]:
                case "number":
                    connection.execute("INSERT OR IGNORE INTO numbers (number, run_id) VALUES (:number, :run_id)", line)
                    connection.execute("INSERT OR IGNORE INTO numbers (run_id) VALUES (:run_id)", line)
                case "latest":
                    value = NOT_FINITE.get(line["value"], line["value"])
                    _put(connection, "latest", {**line, "value": value}, newest)
                case "fact":
                    value = _named_by_rows(connection, database, line)
                    _put(connection, "facts", {**line, "value": orjson.dumps(value)}, newest)
                case "stream":
                    _put_stream(connection, line)
                case "mlflow_experiment":
                    _put_experiment(connection, line)


def _put(connection: sqlite3.Connection, table: str, line: Line, newest: Collection[str]) -> None:
    names = [name for name in line if name != "is"]
    word = "REPLACE" if line["run_id"] in newest else "IGNORE"
    connection.execute(
        f"INSERT OR {word} INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})",  # noqa: S608 - our own words
        {name: line[name] for name in names},
    )


def _put_stream(connection: sqlite3.Connection, line: Line) -> None:
    (stream,) = connection.execute(
        "INSERT INTO streams (run_id, protocol, next_seq) VALUES (:run_id, :protocol, :next_seq) "
        "ON CONFLICT (run_id, protocol) DO UPDATE SET next_seq = max(next_seq, excluded.next_seq) RETURNING number",
        {name: line[name] for name in ("run_id", "protocol", "next_seq")},
    ).fetchone()
    connection.executemany(
        "INSERT OR IGNORE INTO seen (stream, digest, seq) VALUES (?, ?, ?)",
        ((stream, digest, seq) for digest, seq in line["seen"]),
    )


def _put_experiment(connection: sqlite3.Connection, line: Line) -> None:
    """An experiment of a project that is none here, under its own number and name where they are free."""
    taken = connection.execute("SELECT 1 FROM experiments WHERE number = ?", (line["number"],)).fetchone()
    named = connection.execute("SELECT 1 FROM experiments WHERE name = ?", (line["name"],)).fetchone()
    connection.execute(
        "INSERT OR IGNORE INTO experiments VALUES (:number, :project, :name, :stage, :tags, :created_ms, :updated_ms)",
        {name: line[name] for name in _EXPERIMENT}
        | {"number": None if taken else line["number"], "tags": orjson.dumps(line["tags"])}
        | {"name": f"{line['name']} (imported)" if named else line["name"]},
    )


def _named_by_rows(connection: sqlite3.Connection, database: sqlite3.Connection, line: Line) -> Any:
    value = line["value"]
    if line["name"] == GONE:
        sql = (
            "SELECT files.number FROM files JOIN writers ON writers.number = writer JOIN runs ON runs.number = "
            "writers.run WHERE runs.id = ? AND writers.id = ? AND seq = ?"
        )
        found = {path: database.execute(sql, (line["run_id"], *record)).fetchone() for path, record in value.items()}
        return {path: row[0] for path, row in found.items() if row is not None}
    if line["name"] == MAKING and value.get(_PARENT) is not None:
        row = connection.execute("SELECT number FROM numbers WHERE run_id = ?", (value[_PARENT],)).fetchone()
        return {**value, _PARENT: row[0] if row else None}
    return value


def _rows(kind: str, connection: sqlite3.Connection, sql: str, *values: object) -> Iterator[Line]:
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return ({"is": kind, **dict(zip(names, row, strict=True))} for row in cursor)


def _shown(value: float) -> float | str:
    return value if math.isfinite(value) else not_finite_name(value)
