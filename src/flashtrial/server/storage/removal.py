"""SQL that removes runs for good. A note of each stays, so that late records do not bring a part of it back."""

import sqlite3

from flashtrial.server.retention import KEEP_TAG, EndedRun

_OF_SERIES = ("tails", "curves", "blocks")
_OF_RUN = ("files", "documents", "console", "changes", "series", "writers")


def remove_run(connection: sqlite3.Connection, run_id: str, now_ms: int) -> bool:
    """Remove the run with all that belongs to it; whether there was one. Its files' contents are not ours to remove."""
    row = connection.execute("SELECT number FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        return False
    for table in _OF_SERIES:
        connection.execute(f"DELETE FROM {table} WHERE series IN (SELECT number FROM series WHERE run = ?)", row)  # noqa: S608 - our own words
    for table in _OF_RUN:
        connection.execute(f"DELETE FROM {table} WHERE run = ?", row)  # noqa: S608 - our own words
    connection.execute("DELETE FROM runs WHERE number = ?", row)
    connection.execute("INSERT OR REPLACE INTO removed (run_id, removed_ms) VALUES (?, ?)", (run_id, now_ms))
    return True


def was_removed(connection: sqlite3.Connection, run_id: str) -> bool:
    """Whether there was a run with this id that somebody removed, and nobody made since."""
    return connection.execute("SELECT 1 FROM removed WHERE run_id = ?", (run_id,)).fetchone() is not None


def ended_runs(connection: sqlite3.Connection) -> list[EndedRun]:
    """The runs that retention may remove."""
    rows = connection.execute(
        "SELECT id, project, updated_ms, number FROM runs WHERE told_status NOT IN ('created', 'running') "
        "AND NOT EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?) "
        "AND NOT EXISTS (SELECT 1 FROM runs AS child WHERE child.fork_run = runs.id)",
        (KEEP_TAG,),
    ).fetchall()
    return [
        EndedRun(run_id, project, updated_ms, _size_bytes(connection, run)) for run_id, project, updated_ms, run in rows
    ]


def _size_bytes(connection: sqlite3.Connection, run: int) -> int:
    """About what a run takes: its points, its output, its data, the contents of its files."""
    total = 0
    for sql in _SIZES:
        total += connection.execute(sql, (run,)).fetchone()[0] or 0
    return total


_SIZES = (
    "SELECT sum(length(summary) + length(data)) FROM series JOIN blocks ON series = series.number WHERE run = ?",
    "SELECT sum(length(rows)) FROM series JOIN tails ON series = series.number WHERE run = ?",
    "SELECT sum(length(text)) FROM console WHERE run = ?",
    "SELECT sum(length(body)) FROM documents WHERE run = ?",
    "SELECT sum(size) FROM (SELECT DISTINCT sha256, size FROM files WHERE run = ?)",
)
