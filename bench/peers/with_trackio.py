"""trackio, on this machine only: rows of its SQLite database."""

import contextlib
import sqlite3
from pathlib import Path

import subject
import trackio


def opened(_directory: Path) -> tuple[subject.Log, subject.Finish]:
    trackio.init(project="bench", name="run", auto_log_gpu=False)
    return (lambda values, step: trackio.log(values, step=step)), trackio.finish


def count(directory: Path) -> int:
    database = directory / "trackio" / "bench.db"
    if not database.exists():  # it was killed before it wrote anything
        return 0
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])


subject.main(opened, count)
