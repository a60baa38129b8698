"""What a careful script does by hand for each `log`: the floors of P10.

All three survive the death of the process and none that of the machine, as `flashtrial.log` does: their bytes are in
the page cache when `log` returns, and nothing is fsynced.
"""

import json
import os
import sqlite3
import time
import zlib
from pathlib import Path
from typing import Any, Protocol

import orjson


class Floor(Protocol):
    def log(self, values: dict[str, Any], step: int) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """A line of JSON by the standard library, and one `write`."""

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / "floor.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def log(self, values: dict[str, Any], step: int) -> None:
        line = json.dumps({"step": step, "time": time.time(), "values": values}, default=lambda scalar: scalar.item())
        os.write(self._file, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._file)


class OrjsonFrames:
    """orjson, a checksum in front, and one `write`."""

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / "floor.frames", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def log(self, values: dict[str, Any], step: int) -> None:
        packed = orjson.dumps({"step": step, "time": time.time(), "values": values}, option=orjson.OPT_SERIALIZE_NUMPY)
        os.write(self._file, b"".join((len(packed).to_bytes(4), zlib.crc32(packed).to_bytes(4), packed)))

    def close(self) -> None:
        os.close(self._file)


class SqliteCommits:
    """A row of JSON and a commit, in WAL mode with `synchronous = NORMAL`, which does not wait for the disk."""

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS logs (id INTEGER PRIMARY KEY, step, time, data)")

    def log(self, values: dict[str, Any], step: int) -> None:
        line = json.dumps(values, default=lambda scalar: scalar.item())
        self._connection.execute("INSERT INTO logs (step, time, data) VALUES (?, ?, ?)", (step, time.time(), line))

    def close(self) -> None:
        self._connection.close()
