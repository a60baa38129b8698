"""Transactions that do not end as they were meant to leave the connection usable, and tell what went wrong first."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.core import sqlite

pytestmark = pytest.mark.unit


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite.connect(tmp_path / "test.db")
    connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE children (parent REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)")
    yield connection
    connection.close()


def test_a_commit_that_fails_is_rolled_back(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError), sqlite.transaction(connection):
        connection.execute("INSERT INTO children VALUES (1)")
    with sqlite.transaction(connection):
        connection.execute("INSERT INTO parents VALUES (1)")
    assert connection.execute("SELECT count(*) FROM children").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM parents").fetchone() == (1,)


def test_what_sqlite_has_rolled_back_itself_is_told_by_its_own_error(connection: sqlite3.Connection) -> None:
    """It does so when the disk is full."""
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), sqlite.transaction(connection):
        connection.execute("INSERT OR ROLLBACK INTO parents VALUES (1), (1)")
