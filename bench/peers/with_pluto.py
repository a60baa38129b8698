"""pluto-ml, sending to a server that speaks its protocol; what survived stands in the queue of its sync process."""

import contextlib
import sqlite3
from pathlib import Path

import pluto
import subject

METRICS = 0  # sync_queue.record_type


def opened(directory: Path) -> tuple[subject.Log, subject.Finish]:
    run = pluto.init(project="bench", name=directory.name, dir=str(directory))
    return (lambda values, step: run.log(values, step=step)), run.finish


def count(directory: Path) -> int:
    [queue] = directory.glob(".pluto/**/sync.db")
    with contextlib.closing(sqlite3.connect(queue)) as connection:
        sql = "SELECT count(DISTINCT step) FROM sync_queue WHERE record_type = ?"
        return int(connection.execute(sql, (METRICS,)).fetchone()[0])


subject.main(opened, count)
