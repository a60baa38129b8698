"""The tables of ``server.db``, as numbered migrations.

Names: `number` is a row's own key inside this file; ids that clients know are text. NaN is stored as NULL.
"""

import sqlite3

from flashtrial.core.sqlite import DatabaseFromTheFuture, Migration
from flashtrial.server.control.tables import CONTROL_TABLES
from flashtrial.server.storage.inheritance import INHERITANCE_TABLES
from flashtrial.server.storage.migration import to_columns, to_lasts_by_writer

_FIRST = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    tags TEXT NOT NULL,
    config TEXT NOT NULL,
    host TEXT,
    reason TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL
);
CREATE INDEX runs_by_age ON runs (created_ms, number);
CREATE TABLE writers (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (number),
    id TEXT NOT NULL,
    taken BLOB NOT NULL,
    UNIQUE (run, id)
);
CREATE TABLE changes (
    writer INTEGER NOT NULL REFERENCES writers (number),
    seq INTEGER NOT NULL,
    run INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (writer, seq)
) WITHOUT ROWID;
CREATE INDEX changes_of_run ON changes (run);
CREATE TABLE series (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (number),
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    points INTEGER NOT NULL,
    last_time_ms INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    last_value REAL,
    UNIQUE (run, kind, name)
);
CREATE TABLE points (
    series INTEGER NOT NULL,
    step INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    value REAL,
    PRIMARY KEY (series, step, writer, seq)
) WITHOUT ROWID;
CREATE TABLE console (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    stream TEXT NOT NULL,
    line INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX console_of_run ON console (run, number);
CREATE TABLE documents (
    writer INTEGER NOT NULL REFERENCES writers (number),
    seq INTEGER NOT NULL,
    run INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    step INTEGER,
    time_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (writer, seq)
) WITHOUT ROWID;
CREATE INDEX documents_of_run ON documents (run, kind, name)
"""

# Whose record the last value is: a writer's clock may be set back, its sequence numbers never step back.
_LAST_BY_SEQUENCE = """
ALTER TABLE series ADD COLUMN last_writer INTEGER;
ALTER TABLE series ADD COLUMN last_seq INTEGER
"""

# One row for each file record; the bytes lie in the blob store under their SHA-256, before the record or after it.
_FILES = """
CREATE TABLE files (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (number),
    writer INTEGER NOT NULL REFERENCES writers (number),
    seq INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    name TEXT NOT NULL,
    step INTEGER,
    position INTEGER NOT NULL,
    type TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    mime TEXT NOT NULL,
    file_name TEXT NOT NULL,
    caption TEXT,
    meta TEXT NOT NULL,
    UNIQUE (writer, seq)
);
CREATE INDEX files_of_run ON files (run, name, step);
CREATE INDEX files_of_content ON files (sha256)
"""

# So that late records of a run that was removed do not bring a part of it back.
_REMOVED = """
CREATE TABLE removed (
    run_id TEXT PRIMARY KEY,
    removed_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_forked ON runs (fork_run) WHERE fork_run IS NOT NULL
"""

MIGRATIONS: tuple[Migration, ...] = (
    _FIRST,
    _LAST_BY_SEQUENCE,
    _FILES,
    to_columns,
    _REMOVED,
    CONTROL_TABLES,
    to_lasts_by_writer,
    INHERITANCE_TABLES,
)


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the tables; 0 where there are none. Raises `DatabaseFromTheFuture`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise DatabaseFromTheFuture(
            f"the database has schema {version}, this flashtrial knows {len(MIGRATIONS)}: upgrade flashtrial"
        )
    assert isinstance(version, int)
    return version
