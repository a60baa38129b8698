"""How the database is opened for reading: read-only, in one snapshot, by whoever asks, with or without a server."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from flashtrial.core import sqlite
from flashtrial.server.schema import MIGRATIONS, version_of


@contextlib.contextmanager
def reading(db_path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection inside one snapshot; to an empty database where there is no file.

    A file of an older version is copied into memory and brought up to date there: reading never changes it.
    Raises `DatabaseFromTheFuture`.
    """
    with contextlib.closing(_opened(db_path)) as connection, sqlite.snapshot(connection):
        if version_of(connection) == len(MIGRATIONS):  # the first question: the version is of the snapshot, too
            yield connection
            return
    with contextlib.closing(_up_to_date(db_path)) as connection:
        yield connection


def _opened(db_path: Path) -> sqlite3.Connection:
    return sqlite.connect(db_path, read_only=True) if db_path.exists() else sqlite3.connect(":memory:")


def _up_to_date(db_path: Path) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(_opened(db_path)) as connection:
        connection.backup(copy)
    sqlite.migrate(copy, MIGRATIONS)
    return copy
