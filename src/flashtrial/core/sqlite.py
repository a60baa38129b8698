"""SQLite opened the one way this project opens it, with numbered migrations.

WAL, so that readers never wait for the writer; `BEGIN IMMEDIATE` transactions, so that two writers queue at the start
instead of failing in the middle; foreign keys on. Each connection belongs to one thread.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from flashtrial.core.errors import FlashtrialError
from flashtrial.core.files import OWNER_ONLY_FILE

BUSY_TIMEOUT_S = 10.0


class DatabaseFromTheFuture(FlashtrialError):
    """Raised when a database was written by a newer flashtrial; upgrade flashtrial to open it."""


def connect(path: Path, *, read_only: bool = False, shrinks: bool = False) -> sqlite3.Connection:
    """A connection in WAL mode that waits up to 10 s for a lock; transactions are explicit (see `transaction`).

    A file that is made here only its owner can read, whatever its directory allows: SQLite's own files beside it get
    the same mode. With `shrinks`, one that is made here can give back room with ``PRAGMA incremental_vacuum``.
    Raises OSError where it cannot be made.
    """
    if not read_only:
        _make_private(path)
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    connection.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        if shrinks:  # ahead of WAL, which makes the first page; of an older file it changes nothing
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _make_private(path: Path) -> None:
    # Only where there is none: to close a descriptor of a database is to lose this process's locks on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY_FILE))


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit what the block did, or nothing of it when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have rolled back itself, as when the disk is full
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """What the block reads is of one moment: that of its first question. For connections that only read."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


# A script, or a function for what SQL alone cannot do; it runs inside the transaction of its step.
Migration: TypeAlias = "str | Callable[[sqlite3.Connection], None]"


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Bring the schema from ``PRAGMA user_version`` to ``len(migrations)``, each step in a transaction of its own.

    `migrations[n]` leads from version n to n + 1. Never edit one that was released: append.
    Raises `DatabaseFromTheFuture` when the file is newer than this code.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise DatabaseFromTheFuture(
            f"the database has schema {version}, this flashtrial knows {len(migrations)}: upgrade flashtrial"
        )
    for number in range(version, len(migrations)):
        _apply(connection, number, migrations[number])


def _apply(connection: sqlite3.Connection, number: int, migration: Migration) -> None:
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != number:  # another process was quicker while we waited for the lock
            return
        if isinstance(migration, str):
            _run_script(connection, migration)
        else:
            migration(connection)
        connection.execute(f"PRAGMA user_version = {number + 1}")


def _run_script(connection: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)
