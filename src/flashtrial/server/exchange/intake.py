"""Imports of what an export wrote, while a server runs or not.

All of it is read and checked before anything is changed. Taking in is ingesting, so doing it twice changes nothing.
"""

import contextlib
import csv
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from flashtrial.core.clock import SystemClock
from flashtrial.core.errors import FlashtrialError
from flashtrial.server.exchange import archive, ledger_lines, standings, tables
from flashtrial.server.exchange.archive import BLOBS, DamagedExport
from flashtrial.server.exchange.transfer import BESIDE_FILE, RECORDS_FILE, Format
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.ingest_body import BadBody, parse_json
from flashtrial.server.neighbours.ledger import Ledger, ledger_beside
from flashtrial.server.repository import Repository
from flashtrial.server.settings import ServerSettings
from flashtrial.server.storage.reading import reading

Line: TypeAlias = dict[str, Any]

_RECORDS_AT_ONCE = 5_000
_COPY_BYTES = 1024 * 1024
_SOME = 5


class NothingToImport(FlashtrialError):
    """Raised when there is nothing at a place that an export could have written."""


class AnotherRun(FlashtrialError):
    """Raised when a run of the same id is there already, and nothing of it is in the export. Nothing was taken in."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import took in; `reasons` are some of why records were refused."""

    stored: int
    duplicates: int
    refused: int
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class _Archive:
    """An export that was read once: `items` gives its records anew each time."""

    items: Callable[[], Iterator[Any]]
    is_tables: bool
    standings: list[Line] = field(default_factory=list)
    ledger: list[Line] = field(default_factory=list)
    contents: list[Path] = field(default_factory=list)
    writers: dict[str, set[str]] = field(default_factory=dict)  # by run
    begun_ms: dict[str, int] = field(default_factory=dict)  # by run, of tables


def import_runs(settings: ServerSettings, source: Path) -> Imported:
    """Take in what `export_runs` wrote: a directory, or the file of records alone.

    A run that was removed is there again. Raises `NothingToImport`, `DamagedExport`, `ExportFromTheFuture`,
    `AnotherRun`, `StoreFull`, `NoPyarrow` and OSError.
    """
    found = _read(source)
    if settings.mask_secrets:
        found.standings = [standings.masked(line) for line in found.standings]
        found.ledger = [ledger_lines.masked(line) for line in found.ledger]
    with reading(settings.db_path) as connection:
        known = _known(connection, found)
    with contextlib.closing(_Home(settings)) as home:
        home.store_contents(found.contents)
        home.prepare(found)
        items = (item for item in found.items() if not _is_told_better(item, known, found))
        totals = [home.ingest(some) for some in _pieces(items)]
        home.complete(found)
    reasons = tuple(dict.fromkeys(reason for total in totals for reason in total.reasons))[:_SOME]
    return Imported(
        sum(total.stored for total in totals),
        sum(total.duplicates for total in totals),
        sum(total.refused for total in totals),
        reasons,
    )


def _read(source: Path) -> _Archive:
    """All of an export, looked through. Raises as `import_runs` does."""
    listed = archive.check(source)
    found = _opened(source, listed)
    if source.is_dir():
        found.contents = archive.check_contents(source / BLOBS)
        if not found.is_tables and (listed is None or BESIDE_FILE in listed):
            _read_beside(source / BESIDE_FILE, found)
    try:
        for item in found.items():
            _look_at(item, found)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DamagedExport(f"{source} is cut or damaged: {error}") from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, FileNotFoundError):
            raise
        raise DamagedExport(f"{source} is cut or damaged: {error}") from error
    return found


def _opened(source: Path, listed: frozenset[str] | None) -> _Archive:
    def there(name: str) -> bool:
        return (source / name).is_file() if listed is None else name in listed

    if not source.exists():
        raise NothingToImport(f"there is no {source}")
    if source.is_file() and _is_database(source):
        raise NothingToImport(f"{source} is a backup, no export: stop the server, and put it at server.db of a home")
    if source.is_file():
        return _Archive(lambda: _lines(source), is_tables=False)
    if there(RECORDS_FILE):
        return _Archive(lambda: _lines(source / RECORDS_FILE), is_tables=False)
    for kind, read in ((Format.CSV, tables.read_csv), (Format.PARQUET, tables.read_parquet)):
        if there(f"runs.{kind}"):
            return _Archive(lambda kind=kind, read=read: _of_tables(source, kind, read), is_tables=True)  # type: ignore[misc]
    raise NothingToImport(f"{source} holds no {RECORDS_FILE}, runs.csv or runs.parquet")


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _of_tables(source: Path, kind: Format, read: Callable[[Path, tables.Table], Iterator[Line]]) -> Iterator[Line]:
    for table in tables.TABLES:
        yield from tables.records_from(table.name, read(source / f"{table.name}.{kind}", table))


def _lines(path: Path) -> Iterator[Any]:
    """What each line of a file holds. Raises `DamagedExport`."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DamagedExport(f"{path} is cut or damaged in line {number}: {error}") from error


def _read_beside(path: Path, found: _Archive) -> None:
    for number, line in enumerate(_lines(path) if path.is_file() else (), 1):
        try:
            if line["is"] in standings.NAMES:
                found.standings.append(standings.checked(line))
            else:
                found.ledger.append(ledger_lines.checked(line))
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedExport(f"{path} is damaged in line {number}: {error!r}") from error
    for line in found.standings:
        if line["is"] == "run":
            found.writers.setdefault(line["id"], set())
        if line["is"] == "writer":
            found.writers.setdefault(line["run_id"], set()).add(line["id"])


def _look_at(item: object, found: _Archive) -> None:
    """Note whose record it is; what is no record is refused later, by itself."""
    match item:
        case {"run_id": str(run_id), "writer_id": str(writer_id), "time_ms": time_ms}:
            found.writers.setdefault(run_id, set()).add(writer_id)
            if found.is_tables and writer_id == tables.WRITER:
                found.begun_ms.setdefault(run_id, time_ms)


def _known(connection: sqlite3.Connection, found: _Archive) -> dict[str, set[str]]:
    """The writers here of each run that is to come. Raises `AnotherRun`."""
    known: dict[str, set[str]] = {}
    for run_id, coming in found.writers.items():
        row = connection.execute("SELECT number, created_ms FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            continue
        sql = "SELECT id FROM writers WHERE run = ? AND length(taken) > 0"
        known[run_id] = {writer_id for (writer_id,) in connection.execute(sql, row[:1])}
        if known[run_id] and not known[run_id] & coming and found.begun_ms.get(run_id) != row[1]:
            raise AnotherRun(
                f"another run with the id {run_id} is here already, so nothing was taken in: remove that one, "
                "export the others with --run, or import into another home (FLASHTRIAL_HOME)"
            )
    return known


def _is_told_better(item: object, known: dict[str, set[str]], found: _Archive) -> bool:
    """Whether a table's word on what a run is can be left out: the run is here, and its own writers told it."""
    if not found.is_tables or not isinstance(item, dict) or item["writer_id"] != tables.WRITER:
        return False
    here = known.get(item["run_id"], set())
    return bool(here) and tables.WRITER not in here


class _Home:
    """The home that takes in: a second writer beside a server's. Each waits for the other's transactions."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._repository = Repository(settings.db_path, self._clock, lambda _: None, mask_secrets=settings.mask_secrets)
        self._repository.start()

    def close(self) -> None:
        self._repository.stop()

    def store_contents(self, contents: Iterable[Path]) -> None:
        store = BlobStore(self._settings.blobs_dir, self._settings.blob_limits)
        missing = [path for path in contents if store.path_of(path.name) is None]
        if missing:
            store.start()
        for path in missing:
            with store.incoming() as incoming, path.open("rb") as file:
                while data := file.read(_COPY_BYTES):
                    incoming.write(data)
                incoming.commit()

    def prepare(self, found: _Archive) -> None:
        prepare = partial(standings.prepare, run_ids=found.writers, lines=found.standings, now_ms=self._now_ms())
        self._do(prepare)

    def ingest(self, records: list[Any]) -> Imported:
        try:
            parsed = parse_json(orjson.dumps(records))
        except BadBody as error:
            return Imported(0, 0, len(records), (str(error),))
        results = self._repository.ingest(parsed.batches).result()
        refused = [refusal.reason for result in results for refusal in result.refused]
        refused += [reason for _, reason in parsed.refused_lines]
        stored, duplicates = sum(each.stored for each in results), sum(each.duplicates for each in results)
        return Imported(stored, duplicates, len(records) - stored - duplicates, tuple(refused[:_SOME]))

    def complete(self, found: _Archive) -> None:
        """What stands beside the records, once they are all in."""
        ledger = Ledger(ledger_beside(self._settings.db_path))
        streams = [line for line in found.ledger if line["is"] == "stream"]
        called_here = {f"{line['protocol']}-{ledger.epoch}": line["writer_id"] for line in streams}
        complete = partial(standings.complete, lines=found.standings, called_here=called_here, now_ms=self._now_ms())
        newest = self._do(complete)
        if found.ledger:
            with reading(self._settings.db_path) as connection:
                ledger_lines.put_in(ledger, connection, found.ledger, newest)
        said = {(line["run_id"], line["id"]): line for line in found.standings if line["is"] == "writer"}
        for line in streams:
            if (like := said.get((line["run_id"], line["writer_id"]))) is not None:
                here = f"{line['protocol']}-{ledger.epoch}"
                self._do(partial(standings.take_numbers, like=like, writer_id=here))

    def _now_ms(self) -> int:
        return self._clock.time_ms()

    def _do(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        return self._repository.submit(lambda connection, _: work(connection)).result()


def _pieces(items: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(islice(items, _RECORDS_AT_ONCE)):
        yield some
