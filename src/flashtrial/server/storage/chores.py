"""What the writer's thread does while nobody waits: sealing tails of runs that have ended, giving back free room."""

import contextlib
import sqlite3
from collections.abc import Iterable

from flashtrial.core import sqlite
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.storage.point_store import SEAL_AT_END_POINTS, Tail, seal

KEPT_PAGES = 1024  # 4 MiB
_PAGES_AT_ONCE = 256
_AT_ONCE = 50  # tails in a transaction: a few ms, since somebody may come meanwhile


class Sealing:
    """Knows which runs may have ended with open tails. Belongs to the writer's thread."""

    def __init__(self) -> None:
        self._runs: set[str] = set()

    def look_for_old(self, connection: sqlite3.Connection) -> None:
        """Find runs that ended when no server had the time for them."""
        rows = connection.execute(
            "SELECT DISTINCT runs.id, status FROM curves JOIN series ON series.number = series "
            "JOIN runs ON runs.number = run WHERE open_points >= ?",
            (SEAL_AT_END_POINTS,),
        )
        self._runs = {run_id for run_id, status in rows if RunStatus(status).is_finished}

    def changed(self, run_ids: Iterable[str]) -> None:
        """Something new of these runs was stored: perhaps their end."""
        self._runs.update(run_ids)

    def seal_some(self, connection: sqlite3.Connection) -> bool:
        """Seal a few tails; whether there may be more."""
        while self._runs:
            run_id = self._runs.pop()
            tails = _long_tails(connection, run_id)
            if tails:
                with sqlite.transaction(connection):
                    for tail in tails:
                        seal(connection, tail)
                if len(tails) == _AT_ONCE:
                    self._runs.add(run_id)
                return True
        return False


def give_back_some(connection: sqlite3.Connection, kept_pages: int = KEPT_PAGES) -> bool:
    """Give some free pages back to the disk where there are many; whether there are more. Some are kept for what comes,
    but none where `kept_pages` is 0.

    Files that were made before this could be do not shrink: their pages are used again.
    """
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if free <= (kept_pages and max(kept_pages, pages // 8)):
        return False
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
    if not kept_pages:
        empty_log(connection)  # which is what makes the file smaller
    (left,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(left < free)


def empty_log(connection: sqlite3.Connection) -> None:
    """Move SQLite's log into the database, as far as nobody reads there and there is room: the next one begins anew."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _long_tails(connection: sqlite3.Connection, run_id: str) -> list[Tail]:
    """Open tails of a run that has ended which are worth a block."""
    row = connection.execute("SELECT number, told_status FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None or not RunStatus(row[1]).is_finished:
        return []
    rows = connection.execute(
        "SELECT series, curves.writer FROM series JOIN curves ON series = series.number "
        "WHERE run = ? AND open_points >= ? LIMIT ?",
        (row[0], SEAL_AT_END_POINTS, _AT_ONCE),
    )
    return [Tail(*found) for found in rows]
