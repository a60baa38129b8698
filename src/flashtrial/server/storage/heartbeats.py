"""SQL that writes what heartbeats say: which writers live, which are gone, and what that makes of their runs."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from flashtrial.server.liveness import Beat, Role, Silence
from flashtrial.server.storage.run_rows import settle


@dataclass(frozen=True, slots=True)
class WriterSight:
    """What a heartbeat says of one writer. `reason` is why it is gone, where that is known."""

    run_id: str
    writer_id: str
    role: Role
    beat: Beat
    reason: str | None = None
    host: str | None = None


def store_sights(
    connection: sqlite3.Connection, sights: Sequence[WriterSight], now_ms: int, silence: Silence
) -> list[str]:
    """Take down the sights; the ids of the runs that now stand otherwise. Repeating it changes nothing but times."""
    runs: dict[str, int] = {}
    for sight in sights:
        row = connection.execute("SELECT number FROM runs WHERE id = ?", (sight.run_id,)).fetchone()
        if row is not None:
            runs[sight.run_id] = row[0]
            _store(connection, row[0], sight, now_ms)
    return [run_id for run_id, number in runs.items() if settle(connection, number, silence)]


def _store(connection: sqlite3.Connection, run: int, sight: WriterSight, now_ms: int) -> None:
    """A gone writer was last heard of when it was first said to be gone: repetitions are no news of it."""
    connection.execute(
        "UPDATE writers SET role = :role, host = coalesce(:host, host), gone_reason = :reason, "
        "heard_ms = CASE WHEN beat = 'gone' AND :beat = 'gone' THEN heard_ms ELSE :now_ms END, beat = :beat "
        "WHERE run = :run AND id = :writer",
        {
            "role": sight.role,
            "host": sight.host,
            "reason": sight.reason if sight.beat is Beat.GONE else None,
            "beat": sight.beat,
            "now_ms": now_ms,
            "run": run,
            "writer": sight.writer_id,
        },
    )
    connection.execute("UPDATE runs SET last_seen_ms = ? WHERE number = ?", (now_ms, run))
