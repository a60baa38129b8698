"""What MLflow means by a metric's last value: the point of the highest step, of two at one step the later, then larger.

Ours is the point that was logged last. The two differ where steps go back, so the highest is remembered as it comes.
Noted after its record was committed and before the client is answered, so a point that was acknowledged is noted;
a loss of power may forget the newest notes, and then the last point counts.
"""

import math
from collections.abc import Iterable, Mapping

import orjson

from flashtrial.protocol.records import RecordKind
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.recorder import Entry
from flashtrial.server.neighbours.runs import LastPoint

_NOTE = (
    "INSERT INTO latest (run_id, name, step, time_ms, value) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (run_id, name) DO UPDATE SET step = excluded.step, time_ms = excluded.time_ms, value = excluded.value "
    "WHERE (excluded.step, excluded.time_ms, coalesce(excluded.value, 0.0)) > (step, time_ms, coalesce(value, 0.0))"
)
_KINDS = (RecordKind.METRIC, RecordKind.SYSTEM)


class Latest:
    """The highest points of the runs that MLflow's clients wrote. From any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def note(self, run_id: str, entries: Iterable[Entry]) -> None:
        """Points were stored; those that are no metrics are passed over. Saying the same again changes nothing."""
        rows = [row for entry in entries if entry.kind in _KINDS for row in _rows(run_id, entry)]
        if rows:
            with self._ledger.writing(is_synced=False) as connection:
                connection.executemany(_NOTE, rows)

    def of(self, run_ids: Iterable[str]) -> dict[str, dict[str, LastPoint]]:
        """What was noted, by run and name."""
        found: dict[str, dict[str, LastPoint]] = {}
        with self._ledger.reading() as connection:
            rows = connection.execute(
                "SELECT run_id, name, step, time_ms, value FROM latest "
                "WHERE run_id IN (SELECT value FROM json_each(?))",
                (orjson.dumps(list(run_ids)).decode(),),
            )
            for run_id, name, step, time_ms, value in rows:
                found.setdefault(run_id, {})[name] = (step, time_ms, math.nan if value is None else value)
        return found


def higher(stored: Mapping[str, LastPoint], noted: Mapping[str, LastPoint]) -> dict[str, LastPoint]:
    """For each series that is stored, the higher of its last and its noted point."""
    return {name: max(point, noted.get(name, point), key=_height) for name, point in stored.items()}


def _rows(run_id: str, entry: Entry) -> list[tuple[object, ...]]:
    """NaN is stored as NULL, which is what SQLite makes of it."""
    step, values = entry.body["step"], entry.body["values"]
    return [(run_id, name, step, entry.time_ms, None if math.isnan(v) else v) for name, v in values.items()]


def _height(point: LastPoint) -> tuple[int, int, float]:
    step, time_ms, value = point
    return step, time_ms, 0.0 if math.isnan(value) else value
