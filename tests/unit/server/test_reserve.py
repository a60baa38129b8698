"""Room kept for a full disk: there whatever the system can do, and whole again after a part of it was lent."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from flashtrial.core import sqlite
from flashtrial.server.storage.reserve import Reserve, is_full
from testkit.disks import files_up_to

pytestmark = pytest.mark.unit

SIZE_BYTES = 2_500_000  # no multiple of what is written at once


def test_room_is_kept_where_the_system_cannot_allocate_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    Reserve(tmp_path / "reserve", SIZE_BYTES).hold()
    kept = (tmp_path / "reserve").stat()
    assert kept.st_size == SIZE_BYTES
    assert kept.st_blocks * 512 >= SIZE_BYTES


def test_what_was_lent_is_kept_again_once_the_disk_has_plenty(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", SIZE_BYTES)
    reserve.hold()
    reserve.lend()
    assert (tmp_path / "reserve").stat().st_size < SIZE_BYTES
    reserve.hold()
    kept = (tmp_path / "reserve").stat()
    assert (kept.st_size, kept.st_blocks * 512 >= SIZE_BYTES) == (SIZE_BYTES, True)


def test_a_quota_that_is_used_up_is_a_full_disk(tmp_path: Path) -> None:
    with contextlib.closing(sqlite.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE lines (text TEXT)")
        with (
            files_up_to((tmp_path / "a.db-wal").stat().st_size + 100_000),
            pytest.raises(sqlite3.OperationalError) as failed,
        ):
            connection.execute("INSERT INTO lines VALUES (?)", ("x" * 1_000_000,))
    assert is_full(failed.value)


def test_other_faults_are_no_full_disk(tmp_path: Path) -> None:
    with (
        contextlib.closing(sqlite.connect(tmp_path / "a.db")) as connection,
        pytest.raises(sqlite3.OperationalError) as failed,
    ):
        connection.execute("SELECT * FROM nothing")
    assert not is_full(failed.value)
