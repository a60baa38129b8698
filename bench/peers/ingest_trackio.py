"""trackio's store, in process: seconds of `bulk_log` for batches of each shape, and its database's size.

Usage: ingest_trackio.py DIRECTORY RESULT SHAPES REPEATS, where SHAPES is JSON: [[records, metrics], …]
"""

import contextlib
import json
import math
import sqlite3
import statistics
import sys
import time
from pathlib import Path

from trackio.sqlite_storage import SQLiteStorage


def value(step: int, number: int) -> float:
    return math.exp(-step / 1e5) + math.sin(step * 12.9898 + number) / 7


def main() -> None:
    directory, result, shapes, repeats = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
    seconds, points = [], 0
    for records, metrics in shapes:
        taken = []
        for first in range(0, records * repeats, records):
            steps = list(range(first, first + records))
            rows = [{f"metric_{number}": value(step, number) for number in range(metrics)} for step in steps]
            begun = time.perf_counter()
            SQLiteStorage.bulk_log("bench", f"run_{records}_{metrics}", rows, steps=steps)
            taken.append(time.perf_counter() - begun)
            points += records * metrics
        seconds.append(statistics.median(taken))
    database = directory / "trackio" / "bench.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    result.write_text(json.dumps({"seconds": seconds, "bytes_a_point": database.stat().st_size / points}))


main()
