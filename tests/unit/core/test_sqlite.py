"""Schemas move forward step by step, and transactions do all or nothing."""

import sqlite3
from pathlib import Path

import pytest

from flashtrial.core.sqlite import DatabaseFromTheFuture, connect, migrate, transaction

FIRST = "CREATE TABLE a (x INTEGER);\nINSERT INTO a VALUES (1)"
SECOND = "ALTER TABLE a ADD COLUMN y INTEGER"


def rows(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT * FROM a").fetchall()


def test_migrations_run_once_each_and_in_order(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    migrate(connection, [FIRST])
    migrate(connection, [FIRST])
    migrate(connection, [FIRST, SECOND])
    assert rows(connection) == [(1, None)]
    connection.close()


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [FIRST, "INSERT INTO a VALUES (2);\nnot sql"])
    assert rows(connection) == [(1,)]
    migrate(connection, [FIRST, SECOND])
    assert rows(connection) == [(1, None)]
    connection.close()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    migrate(connection, [FIRST, SECOND])
    with pytest.raises(DatabaseFromTheFuture, match="upgrade"):
        migrate(connection, [FIRST])
    connection.close()


def test_a_transaction_that_raises_did_nothing(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    migrate(connection, [FIRST])
    with pytest.raises(sqlite3.OperationalError), transaction(connection):
        connection.execute("INSERT INTO a VALUES (2)").execute("not sql")
    assert rows(connection) == [(1,)]
    connection.close()


def test_a_reader_sees_what_was_committed_and_cannot_write(tmp_path: Path) -> None:
    writer = connect(tmp_path / "a name with spaces?.db")
    migrate(writer, [FIRST])
    reader = connect(tmp_path / "a name with spaces?.db", read_only=True)
    assert rows(reader) == [(1,)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO a VALUES (2)")
    reader.close()
    writer.close()
