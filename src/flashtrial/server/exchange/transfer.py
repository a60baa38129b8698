"""Exports of runs to a directory, while a server runs or not."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from flashtrial.core.errors import FlashtrialError
from flashtrial.server.exchange import archive, ledger_lines, standings, tables
from flashtrial.server.exchange.archive import BLOBS
from flashtrial.server.exchange.stored_records import records_of
from flashtrial.server.neighbours.ledger import ledger_beside
from flashtrial.server.settings import ServerSettings
from flashtrial.server.storage.reading import reading

RECORDS_FILE = "records.ndjson"
BESIDE_FILE = "beside.ndjson"


class Format(StrEnum):
    """How runs are written: all that is known of them, or tables."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class NoSuchRuns(FlashtrialError):
    """Raised when an export is asked for runs that are not there, or of a home without a database."""


class NoPlaceForExport(FlashtrialError):
    """Raised when an export is to go where a file lies that is no directory."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    runs: int
    records: int
    files: int


def export_runs(
    settings: ServerSettings,
    target: Path,
    kind: Format,
    *,
    run_ids: Iterable[str] = (),
    project: str | None = None,
) -> Exported:
    """Write runs (those named, or of a project, or all) and the contents of their files into the directory `target`.

    Raises `NoSuchRuns`, `NoPlaceForExport`, `NoPyarrow`, OSError.
    """
    if target.exists() and not target.is_dir():
        raise NoPlaceForExport(f"{target} is no directory: name one, or a new one")
    if not settings.db_path.exists():
        raise NoSuchRuns(f"there is no database in {settings.home} yet (FLASHTRIAL_HOME can name another home)")
    wanted = list(run_ids)
    with reading(settings.db_path) as connection:
        chosen = _chosen(connection, wanted, project)
        target.mkdir(parents=True, exist_ok=True)
        archive.open_list(target)
        if kind is Format.JSON:
            names, records = _write_json(connection, chosen, target)
            _write_beside(connection, chosen, settings, target, all_runs=not wanted and project is None)
            names.append(BESIDE_FILE)
        else:
            names, records = _write_tables(connection, chosen, target, kind)
        copied, hashes = _copy_contents(connection, chosen, settings.blobs_dir, target / BLOBS)
    archive.close_list(target, names, hashes)
    return Exported(len(chosen), records, copied)


def _chosen(connection: sqlite3.Connection, run_ids: list[str], project: str | None) -> list[str]:
    known = [
        run_id
        for (run_id,) in connection.execute(
            "SELECT id FROM runs WHERE ?1 IS NULL OR project = ?1 ORDER BY number", (project,)
        )
    ]
    if missing := set(run_ids) - set(known):
        raise NoSuchRuns(f"there are no runs {', '.join(sorted(missing))}")
    if project is not None and not known:
        raise NoSuchRuns(f"there are no runs of project {project}")
    return [run_id for run_id in known if run_id in run_ids] if run_ids else known


def _write_json(connection: sqlite3.Connection, run_ids: Iterable[str], target: Path) -> tuple[list[str], int]:
    records = (record for run_id in run_ids for record in records_of(connection, run_id))
    return [RECORDS_FILE], _write_lines(target / RECORDS_FILE, records)


def _write_beside(
    connection: sqlite3.Connection, run_ids: list[str], settings: ServerSettings, target: Path, *, all_runs: bool
) -> None:
    """What no record tells: how runs stand, who controlled them, and what the neighbours' clients said."""
    ledger = ledger_lines.lines_of(ledger_beside(settings.db_path), connection, run_ids, all_runs=all_runs)
    _write_lines(target / BESIDE_FILE, chain(standings.lines_of(connection, run_ids), ledger))


def _write_lines(path: Path, items: Iterable[dict[str, Any]]) -> int:
    count = 0
    with path.open("wb") as file:
        for count, item in enumerate(items, 1):  # noqa: B007 - wanted after the loop
            file.write(orjson.dumps(item) + b"\n")
    return count


def _write_tables(
    connection: sqlite3.Connection, run_ids: list[str], target: Path, kind: Format
) -> tuple[list[str], int]:
    """One pass over the records for each table: nothing but one run is held in memory."""
    write = tables.write_csv if kind is Format.CSV else tables.write_parquet
    write(target / f"runs.{kind}", tables.RUNS, (tables.run_row(connection, run_id) for run_id in run_ids))
    for table in tables.TABLES[1:]:
        write(target / f"{table.name}.{kind}", table, _rows(connection, run_ids, table.name))
    names = [f"{table.name}.{kind}" for table in tables.TABLES]
    return names, sum(1 for run_id in run_ids for _ in records_of(connection, run_id))


def _rows(connection: sqlite3.Connection, run_ids: list[str], wanted: str) -> Iterator[tables.Row]:
    for run_id in run_ids:
        for record in records_of(connection, run_id):
            for table, row in tables.rows_of(record):
                if table == wanted:
                    yield row


def _copy_contents(
    connection: sqlite3.Connection, run_ids: Iterable[str], source: Path, target: Path
) -> tuple[int, list[str]]:
    """How many contents were copied, and all that are there now: one may not have come yet."""
    sql = "SELECT DISTINCT sha256 FROM files WHERE run = (SELECT number FROM runs WHERE id = ?)"
    hashes = sorted({sha256 for run_id in run_ids for (sha256,) in connection.execute(sql, (run_id,))})
    copied = sum(archive.copy_content(source, target, sha256) for sha256 in hashes)
    return copied, [sha256 for sha256 in hashes if (target / sha256[:2] / sha256).is_file()]
