"""``neighbours.db``: what the neighbours' protocols need and our records do not hold.

Which of a client's lines were seen, and the sequence number each got; small facts about a run; MLflow's experiments.
Connections are opened for each call, so any thread may call; writers wait for each other.
"""

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson

from flashtrial.core import files, sqlite
from flashtrial.protocol.records import JsonValue

_FIRST = """
CREATE TABLE own (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (
    number INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    next_seq INTEGER NOT NULL,
    UNIQUE (run_id, protocol)
);
CREATE TABLE seen (
    stream INTEGER NOT NULL REFERENCES streams (number),
    digest BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (stream, digest)
) WITHOUT ROWID;
CREATE TABLE facts (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
CREATE TABLE experiments (
    number INTEGER PRIMARY KEY,
    project TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    stage TEXT NOT NULL,
    tags BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
)
"""

# Numbers that are never given twice: those of the database are, when its newest run is removed.
_NUMBERS = """
CREATE TABLE numbers (number INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL UNIQUE)
"""

# The highest point of each metric that MLflow's clients logged.
_LATEST = """
CREATE TABLE latest (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    step INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    value REAL,
    PRIMARY KEY (run_id, name)
) WITHOUT ROWID
"""

_MIGRATIONS = (_FIRST, _NUMBERS, _LATEST)
_SECRET_BYTES = 32
_EPOCH_BYTES = 5


def ledger_beside(db_path: Path) -> Path:
    """Where the ledger of the server with the database `db_path` lies, whether it exists or not."""
    return db_path.with_name("neighbours.db")


class Ledger:
    """The file at `path`, made at its first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # guards _own, and lets one writer in at a time
        self._own: dict[str, bytes] = {}

    @property
    def secret(self) -> bytes:
        """Random bytes that only this server knows; addresses that carry a permission are signed with them."""
        return self._own_value("secret")

    @property
    def epoch(self) -> str:
        """Tells this file from one that was lost or restored: sequence numbers are only good within it."""
        return self._own_value("epoch").decode()

    def number_lines(self, run_id: str, protocol: str, digests: Sequence[bytes | None]) -> list[int]:
        """A sequence number for each line: the one that a line with this digest got before, else the next.

        The numbers are on the disk before this returns, so that a line sent again never gets another one. None stands
        for a line that is always new.
        """
        with self.writing() as connection:
            stream, next_seq = connection.execute(
                "INSERT INTO streams (run_id, protocol, next_seq) VALUES (?, ?, 1) "
                "ON CONFLICT (run_id, protocol) DO UPDATE SET run_id = run_id RETURNING number, next_seq",
                (run_id, protocol),
            ).fetchone()
            seqs = _numbered(connection, stream, next_seq, digests)
            last = max([next_seq - 1, *seqs])
            connection.execute("UPDATE streams SET next_seq = ? WHERE number = ?", (last + 1, stream))
        return seqs

    def numbers_of(self, run_ids: Sequence[str]) -> dict[str, int]:
        """The number of each run, given now to those that had none; no other run ever gets it."""
        found = self._known_numbers(run_ids)
        if missing := [run_id for run_id in run_ids if run_id not in found]:
            with self.writing() as connection:
                # Oldest first: lists of runs begin with the newest.
                connection.executemany(
                    "INSERT OR IGNORE INTO numbers (run_id) VALUES (?)", ((run_id,) for run_id in reversed(missing))
                )
            found = self._known_numbers(run_ids)
        return found

    def run_of(self, number: int) -> str | None:
        """The id of the run that has this number."""
        with self.reading() as connection:
            row = connection.execute("SELECT run_id FROM numbers WHERE number = ?", (number,)).fetchone()
        return row[0] if row else None

    def _known_numbers(self, run_ids: Sequence[str]) -> dict[str, int]:
        with self.reading() as connection:
            return dict(
                connection.execute(
                    "SELECT run_id, number FROM numbers WHERE run_id IN (SELECT value FROM json_each(?))",
                    (orjson.dumps(list(run_ids)).decode(),),
                ).fetchall()
            )

    def fact(self, run_id: str, name: str) -> JsonValue:
        """What was last said under this name; None when nothing was."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM facts WHERE run_id = ? AND name = ?", (run_id, name)).fetchone()
        return orjson.loads(row[0]) if row else None

    def facts_of(self, run_ids: Iterable[str], name: str) -> dict[str, JsonValue]:
        """The same for many runs; those without it are left out."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT run_id, value FROM facts WHERE name = ? AND run_id IN (SELECT value FROM json_each(?))",
                (name, orjson.dumps(list(run_ids)).decode()),
            ).fetchall()
        return {run_id: orjson.loads(value) for run_id, value in rows}

    def set_fact(self, run_id: str, name: str, value: JsonValue) -> None:
        """Say it; what was said before under this name is gone."""
        with self.writing() as connection:
            _put(connection, run_id, name, value)

    def merge_fact(self, run_id: str, name: str, news: Mapping[str, JsonValue]) -> None:
        """Change entries of a fact that is a map; None takes an entry out."""

        def merged(before: JsonValue) -> JsonValue:
            both = {**(before if isinstance(before, dict) else {}), **news}
            return {key: value for key, value in both.items() if value is not None}

        self.change_fact(run_id, name, merged)

    def change_fact(self, run_id: str, name: str, change: Callable[[JsonValue], JsonValue]) -> None:
        """Say what `change` makes of what was said before (None: nothing); nobody else says anything meanwhile."""
        with self.writing() as connection:
            row = connection.execute("SELECT value FROM facts WHERE run_id = ? AND name = ?", (run_id, name)).fetchone()
            _put(connection, run_id, name, change(orjson.loads(row[0]) if row else None))

    def _own_value(self, name: str) -> bytes:
        if name not in self._own:
            with self.reading() as connection:
                self._own = dict(connection.execute("SELECT name, value FROM own").fetchall())
        return self._own[name]

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection; for the SQL of the modules beside this one, too."""
        with contextlib.closing(self._connect()) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, *, is_synced: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction, as `reading`. One that is not synced outlives the process, but maybe not a loss of power."""
        with self._lock, contextlib.closing(self._connect()) as connection:
            if not is_synced:
                connection.execute("PRAGMA synchronous = NORMAL")
            with sqlite.transaction(connection):
                yield connection

    def _connect(self) -> sqlite3.Connection:
        files.ensure_private_dir(self._path.parent)
        connection = sqlite.connect(self._path)
        # A sequence number that was given out and forgotten would be given to another line, which then was lost.
        connection.execute("PRAGMA synchronous = FULL")
        sqlite.migrate(connection, _MIGRATIONS)
        connection.executemany(
            "INSERT OR IGNORE INTO own (name, value) VALUES (?, ?)",
            []
            if self._own
            else [("secret", secrets.token_bytes(_SECRET_BYTES)), ("epoch", secrets.token_hex(_EPOCH_BYTES).encode())],
        )
        return connection


def _numbered(connection: sqlite3.Connection, stream: int, next_seq: int, digests: Sequence[bytes | None]) -> list[int]:
    seqs = []
    for digest in digests:
        row = connection.execute("SELECT seq FROM seen WHERE stream = ? AND digest = ?", (stream, digest)).fetchone()
        seqs.append(row[0] if row else next_seq)
        if row is None:
            if digest is not None:
                connection.execute(
                    "INSERT INTO seen (stream, digest, seq) VALUES (?, ?, ?)", (stream, digest, next_seq)
                )
            next_seq += 1
    return seqs


def _put(connection: sqlite3.Connection, run_id: str, name: str, value: JsonValue) -> None:
    connection.execute(
        "INSERT INTO facts (run_id, name, value) VALUES (?, ?, ?) "
        "ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value",
        (run_id, name, orjson.dumps(value)),
    )
