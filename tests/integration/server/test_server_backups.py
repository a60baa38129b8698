"""Backups: whole, private and on the disk, however busy the server is."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.core import sqlite
from flashtrial.server.exchange.backups import back_up
from flashtrial.server.settings import ServerSettings
from testkit.waiting import wait_until

pytestmark = pytest.mark.integration

BULK_BYTES = 24 * 1024 * 1024


@contextlib.contextmanager
def _committing_all_the_time(path: Path) -> Iterator[None]:
    """Another process's steady ingest, as far as the database can tell."""
    stopping, committed = threading.Event(), threading.Event()

    def commit() -> None:
        with contextlib.closing(sqlite.connect(path)) as connection:
            while not stopping.is_set():
                connection.execute("INSERT INTO steady DEFAULT VALUES")
                committed.set()

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        assert committed.wait(20)
        yield
    finally:
        stopping.set()
        thread.join(20)


def test_a_large_database_is_copied_while_commits_never_stop(flashtrial_home: Path, tmp_path: Path) -> None:
    settings = ServerSettings(flashtrial_home)
    flashtrial_home.mkdir(exist_ok=True)
    with contextlib.closing(sqlite.connect(settings.db_path)) as connection:
        connection.execute("CREATE TABLE steady (number INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE bulk (bytes BLOB)")
        connection.execute("INSERT INTO bulk VALUES (zeroblob(?))", (BULK_BYTES,))
    copying = threading.Thread(target=back_up, args=(settings, tmp_path / "copy.db"))
    with _committing_all_the_time(settings.db_path):
        copying.start()
        wait_until(lambda: not copying.is_alive(), what="the copy, beside commits that never stop")
    copying.join(20)
    with contextlib.closing(sqlite.connect(tmp_path / "copy.db", read_only=True)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT length(bytes) FROM bulk").fetchone() == (BULK_BYTES,)
