"""Exports to a directory, imports from one, and backups of a whole home, while a server runs or not."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from flashtrial.core import files, sqlite
from flashtrial.core.clock import SystemClock
from flashtrial.core.errors import FlashtrialError
from flashtrial.server.exchange import tables
from flashtrial.server.exchange.stored_records import records_of
from flashtrial.server.ingest_body import parse_json
from flashtrial.server.neighbours.ledger import ledger_beside
from flashtrial.server.repository import Repository
from flashtrial.server.settings import ServerSettings
from flashtrial.server.storage.reading import reading

RECORDS_FILE = "records.ndjson"
BLOBS = "blobs"
_RECORDS_AT_ONCE = 5_000


class Format(StrEnum):
    """How runs are written: all their records, or tables."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class NothingToImport(FlashtrialError):
    """Raised when there is nothing at a place that an export could have written."""


class NoSuchRuns(FlashtrialError):
    """Raised when an export is asked for runs that are not there."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    runs: int
    records: int
    files: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import took in; `reasons` are some of why records were refused."""

    stored: int
    duplicates: int
    refused: int
    reasons: tuple[str, ...] = ()


def export_runs(
    settings: ServerSettings,
    target: Path,
    kind: Format,
    *,
    run_ids: Iterable[str] = (),
    project: str | None = None,
) -> Exported:
    """Write runs (those named, or of a project, or all) and the contents of their files into the directory `target`.

    Raises `NoSuchRuns`, `NoPyarrow`, OSError.
    """
    target.mkdir(parents=True, exist_ok=True)
    with reading(settings.db_path) as connection:
        chosen = _chosen(connection, list(run_ids), project)
        if kind is Format.JSON:
            records = _write_json(connection, chosen, target / RECORDS_FILE)
        else:
            records = _write_tables(connection, chosen, target, kind)
        copied = _copy_blobs(connection, chosen, settings.blobs_dir, target / BLOBS)
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
    return [run_id for run_id in known if run_id in run_ids] if run_ids else known


def _write_json(connection: sqlite3.Connection, run_ids: Iterable[str], path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for run_id in run_ids:
            for record in records_of(connection, run_id):
                file.write(orjson.dumps(record) + b"\n")
                count += 1
    return count


def _write_tables(connection: sqlite3.Connection, run_ids: list[str], target: Path, kind: Format) -> int:
    """One pass over the records for each table: nothing but one run is held in memory."""
    write = tables.write_csv if kind is Format.CSV else tables.write_parquet
    write(target / f"runs.{kind}", tables.RUNS, (tables.run_row(connection, run_id) for run_id in run_ids))
    for table in tables.TABLES[1:]:
        write(target / f"{table.name}.{kind}", table, _rows(connection, run_ids, table.name))
    return sum(1 for run_id in run_ids for _ in records_of(connection, run_id))


def _rows(connection: sqlite3.Connection, run_ids: list[str], wanted: str) -> Iterator[tables.Row]:
    for run_id in run_ids:
        for record in records_of(connection, run_id):
            for table, row in tables.rows_of(record):
                if table == wanted:
                    yield row


def _copy_blobs(connection: sqlite3.Connection, run_ids: Iterable[str], source: Path, target: Path) -> int:
    hashes = {
        sha256
        for run_id in run_ids
        for (sha256,) in connection.execute(
            "SELECT sha256 FROM files WHERE run = (SELECT number FROM runs WHERE id = ?)", (run_id,)
        )
    }
    return sum(_copy_blob(source, target, sha256) for sha256 in hashes)


def _copy_blob(source: Path, target: Path, sha256: str) -> bool:
    """Copy one blob to where a store keeps it; False where it is not (yet) there, or in the target already."""
    here, there = source / sha256[:2] / sha256, target / sha256[:2] / sha256
    if not here.is_file() or there.exists():
        return False
    there.parent.mkdir(parents=True, exist_ok=True)
    partial = there.with_suffix(".partial")
    shutil.copyfile(here, partial)
    partial.replace(there)
    return True


def import_runs(settings: ServerSettings, source: Path) -> Imported:
    """Take in what `export_runs` wrote: a directory, or the file of records alone. Doing it twice changes nothing.

    Raises `NothingToImport`, `NoPyarrow`, OSError.
    """
    items = _items(source)
    if items is None:
        raise NothingToImport(f"{source} holds no {RECORDS_FILE}, runs.csv or runs.parquet")
    with _repository(settings) as repository:
        totals = [_take_in(repository, some) for some in _pieces(items)]
    if source.is_dir() and (source / BLOBS).is_dir():
        for path in (source / BLOBS).glob("[0-9a-f][0-9a-f]/*"):
            _copy_blob(source / BLOBS, settings.blobs_dir, path.name)
    reasons = tuple(dict.fromkeys(reason for total in totals for reason in total.reasons))[:5]
    return Imported(
        sum(total.stored for total in totals),
        sum(total.duplicates for total in totals),
        sum(total.refused for total in totals),
        reasons,
    )


@contextlib.contextmanager
def _repository(settings: ServerSettings) -> Iterator[Repository]:
    """A second writer beside a server's: each waits for the other's transactions, and neither remembers anything."""
    repository = Repository(settings.db_path, SystemClock(), lambda _: None)
    repository.start()
    try:
        yield repository
    finally:
        repository.stop()


def _items(source: Path) -> Iterator[Any] | None:
    file = source / RECORDS_FILE if source.is_dir() else source
    if file.is_file():
        return _lines(file)
    for kind, read in ((Format.CSV, tables.read_csv), (Format.PARQUET, tables.read_parquet)):
        if (source / f"runs.{kind}").is_file():
            return (
                record
                for table in tables.TABLES
                for record in tables.records_from(table.name, read(source / f"{table.name}.{kind}", table))
            )
    return None


def _lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


def _pieces(items: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(islice(items, _RECORDS_AT_ONCE)):
        yield some


def _take_in(repository: Repository, records: list[Any]) -> Imported:
    parsed = parse_json(orjson.dumps(records))
    results = repository.ingest(parsed.batches).result()
    refused = [refusal.reason for result in results for refusal in result.refused]
    refused += [reason for _, reason in parsed.refused_lines]
    stored, duplicates = sum(each.stored for each in results), sum(each.duplicates for each in results)
    return Imported(stored, duplicates, len(refused), tuple(refused[:5]))


def back_up(settings: ServerSettings, target: Path) -> int:
    """Copy the database into the file `target`, what the neighbours' protocols keep beside it into
    ``<target>.neighbours``, and the contents of files into ``<target>.blobs``; how many of those.

    A running server goes on meanwhile; what it stores during the copying is in it, or is not. Raises `NothingToImport`
    where there is no database yet, and OSError.
    """
    if not settings.db_path.exists():
        raise NothingToImport(f"there is no database in {settings.home} yet")
    if not target.absolute().parent.exists():
        files.ensure_private_dir(target.absolute().parent)
    _copy_database(settings.db_path, target)
    ledger = ledger_beside(settings.db_path)
    if ledger.exists():  # after the database: a number that the ledger gave to a line must not be given again
        _copy_database(ledger, target.with_name(target.name + ".neighbours"))
    beside = target.with_name(target.name + ".blobs")
    return sum(
        _copy_blob(settings.blobs_dir, beside, path.name) for path in settings.blobs_dir.glob("[0-9a-f][0-9a-f]/*")
    )


def _copy_database(path: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite.connect(path, read_only=True)) as source,
        contextlib.closing(sqlite.connect(partial)) as copy,
    ):
        # In one step: a commit between two would make it begin again; in WAL it keeps nobody waiting.
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
    partial.replace(target)
