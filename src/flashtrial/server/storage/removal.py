"""SQL that removes runs for good. A note of each stays, so that late records do not bring a part of it back."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from flashtrial.server.retention import KEEP_TAG, EndedRun
from flashtrial.server.storage import inheritance

_OF_SERIES = ("tails", "curves", "blocks")
_OF_RUN = ("files", "documents", "console", "changes", "series", "writers")


@dataclass(frozen=True, slots=True)
class Removal:
    """Which runs were removed, and the SHA-256 of contents that no file record names any more."""

    run_ids: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()


def remove_runs(connection: sqlite3.Connection, run_ids: Iterable[str], now_ms: int) -> Removal:
    """Remove those of the runs that there are with all that belongs to them, but for the contents of their files.

    Their forks get what they have of their curves, unless they go with them.
    """
    removed: list[str] = []
    contents: set[str] = set()
    for run_id in _children_first(connection, run_ids):
        row = connection.execute("SELECT number FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is not None:
            contents.update(sha for (sha,) in connection.execute("SELECT sha256 FROM files WHERE run = ?", row))
            _remove(connection, row, run_id, now_ms)
            removed.append(run_id)
    forgotten = (sha256 for sha256 in sorted(contents) if not is_named(connection, sha256))
    return Removal(tuple(removed), tuple(forgotten))


def remove_some(connection: sqlite3.Connection, run_id: str, rows: int) -> bool:
    """Remove about so many rows of what takes most room in a run; whether there was anything to do.

    Its forks come first, all at once: as long as there is no room for what they inherit, the run stays whole, and no
    part of their copies takes the room in which others could be removed.
    """
    row = connection.execute("SELECT number FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        return False
    if inheritance.bequeath(connection, run_id):
        return True
    return any(connection.execute(sql, (*row, rows)).rowcount for sql in _BULKY)


_BULKY = (
    "DELETE FROM console WHERE number IN (SELECT number FROM console WHERE run = ? LIMIT ?)",
    "DELETE FROM documents WHERE (writer, seq) IN (SELECT writer, seq FROM documents WHERE run = ? LIMIT ?)",
    "DELETE FROM blocks WHERE number IN (SELECT blocks.number FROM series JOIN blocks ON blocks.series = series.number "
    "WHERE run = ? LIMIT ? / 10)",
    "DELETE FROM tails WHERE (series, writer, seq) IN (SELECT tails.series, tails.writer, seq FROM series "
    "JOIN tails ON tails.series = series.number WHERE run = ? LIMIT ?)",
)


def _children_first(connection: sqlite3.Connection, run_ids: Iterable[str]) -> list[str]:
    """Newest first: nothing is given to a fork that is removed next."""
    asked = list(dict.fromkeys(run_ids))
    made = {
        run_id: connection.execute("SELECT number FROM runs WHERE id = ?", (run_id,)).fetchone() for run_id in asked
    }
    return sorted(asked, key=lambda run_id: made[run_id] or (0,), reverse=True)


def _remove(connection: sqlite3.Connection, row: tuple[int], run_id: str, now_ms: int) -> None:
    inheritance.bequeath(connection, run_id)
    inheritance.forget(connection, row[0])
    for table in _OF_SERIES:
        connection.execute(f"DELETE FROM {table} WHERE series IN (SELECT number FROM series WHERE run = ?)", row)  # noqa: S608 - our own words
    for table in _OF_RUN:
        connection.execute(f"DELETE FROM {table} WHERE run = ?", row)  # noqa: S608 - our own words
    connection.execute("DELETE FROM runs WHERE number = ?", row)
    connection.execute("INSERT OR REPLACE INTO removed (run_id, removed_ms) VALUES (?, ?)", (run_id, now_ms))


def is_named(connection: sqlite3.Connection, sha256: str) -> bool:
    """Whether a file record names this content."""
    return connection.execute("SELECT 1 FROM files WHERE sha256 = ?", (sha256,)).fetchone() is not None


def was_removed(connection: sqlite3.Connection, run_id: str) -> bool:
    """Whether there was a run with this id that somebody removed, and nobody made since."""
    return connection.execute("SELECT 1 FROM removed WHERE run_id = ?", (run_id,)).fetchone() is not None


def ended_runs(connection: sqlite3.Connection) -> list[EndedRun]:
    """The runs that retention may remove, with the last time that a record of them is of, or came at.

    What was logged long ago and came today is as new as today: its user has not seen it yet.
    """
    rows = connection.execute(_ENDED, (KEEP_TAG,)).fetchall()
    return [
        EndedRun(run_id, project, updated_ms, _size_bytes(connection, run)) for run_id, project, updated_ms, run in rows
    ]


# Its experiment may clone a trial that has ended, or ask for its curve, as long as its controller lives.
_ENDED = """
SELECT id, project, max(updated_ms, last_seen_ms), number FROM runs WHERE told_status NOT IN ('created', 'running')
AND NOT EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)
AND NOT EXISTS (SELECT 1 FROM runs AS child WHERE child.fork_run = runs.id)
AND id NOT IN (
    SELECT trials.tracked_run FROM trials JOIN experiments ON experiments.number = trials.experiment
    JOIN runs AS controller ON controller.id = experiments.tracked_run
    WHERE experiments.status IN ('new', 'running') AND controller.status IN ('created', 'running')
)
"""


def _size_bytes(connection: sqlite3.Connection, run: int) -> int:
    """About what a run takes: its points, its output, its data, the contents of its files."""
    total = 0
    for sql in _SIZES:
        total += connection.execute(sql, (run,)).fetchone()[0] or 0
    return total


_SIZES = (
    "SELECT sum(length(summary) + length(data)) FROM series JOIN blocks ON series = series.number WHERE run = ?",
    "SELECT sum(length(rows)) FROM series JOIN tails ON series = series.number WHERE run = ?",
    "SELECT sum(length(summary) + length(data)) FROM inherited WHERE run = ?",
    "SELECT sum(length(text)) FROM console WHERE run = ?",
    "SELECT sum(length(body)) FROM documents WHERE run = ?",
    "SELECT sum(size) FROM (SELECT DISTINCT sha256, size FROM files WHERE run = ?)",
)
