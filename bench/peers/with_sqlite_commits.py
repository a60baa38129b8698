"""A floor: a row and a commit in SQLite, in WAL mode."""

import contextlib
import sqlite3
from pathlib import Path

import subject

from benchkit.floors import SqliteCommits


def opened(directory: Path) -> tuple[subject.Log, subject.Finish]:
    floor = SqliteCommits(directory)
    return floor.log, floor.close


def count(directory: Path) -> int:
    with contextlib.closing(sqlite3.connect(directory / "floor.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM logs").fetchone()[0])


subject.main(opened, count)
