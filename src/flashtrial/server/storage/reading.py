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
    """
    connection = sqlite.connect(db_path, read_only=True) if db_path.exists() else sqlite3.connect(":memory:")
    try:
        if version_of(connection) < len(MIGRATIONS):
            connection = _up_to_date(connection)
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def _up_to_date(connection: sqlite3.Connection) -> sqlite3.Connection:
    with contextlib.closing(connection):
        copy = sqlite3.connect(":memory:", isolation_level=None)
        connection.backup(copy)
    sqlite.migrate(copy, MIGRATIONS)
    return copy
