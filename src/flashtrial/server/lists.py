"""SQL that reads lists beside that of runs: projects, tags, what was told of a run. As in `flashtrial.server.views`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import orjson

from flashtrial.protocol.records import JsonValue
from flashtrial.server.storage.reading import reading


class Count(TypedDict):
    """A project or a tag, and how many runs have it."""

    name: str
    runs: int


class Counts(TypedDict):
    """Counts by name, and the offset of the next page."""

    items: list[Count]
    next: int | None


class ChangeView(TypedDict):
    """One state, config or tags record."""

    writer_id: str
    seq: int
    time_ms: int
    kind: str
    body: dict[str, JsonValue]


class Changes(TypedDict):
    """Changes by time, and the offset of the next page."""

    changes: list[ChangeView]
    next: int | None


def projects(db_path: Path, offset: int, limit: int) -> Counts:
    """Projects by name."""
    sql = "SELECT project, count(*) FROM runs GROUP BY project ORDER BY project LIMIT ? OFFSET ?"
    return _counts(db_path, sql, (), offset, limit)


def tags(db_path: Path, project: str | None, offset: int, limit: int) -> Counts:
    """Tags by name, of one project or of all."""
    sql = (
        "SELECT value, count(*) FROM runs, json_each(tags) WHERE ?1 IS NULL OR project = ?1 "
        "GROUP BY value ORDER BY value LIMIT ?2 OFFSET ?3"
    )
    return _counts(db_path, sql, (project,), offset, limit)


def changes(db_path: Path, run_id: str, offset: int, limit: int) -> Changes:
    """What was told of a run, by time, then by writer and sequence number."""
    with reading(db_path) as connection:
        rows = connection.execute(
            "SELECT writers.id, seq, time_ms, kind, body FROM changes JOIN writers ON writers.number = writer "
            "WHERE changes.run = (SELECT number FROM runs WHERE id = ?) ORDER BY time_ms, writer, seq LIMIT ? OFFSET ?",
            (run_id, limit + 1, offset),
        ).fetchall()
    found: list[ChangeView] = [
        {"writer_id": writer_id, "seq": seq, "time_ms": time_ms, "kind": kind, "body": orjson.loads(body)}
        for writer_id, seq, time_ms, kind, body in rows[:limit]
    ]
    return {"changes": found, "next": offset + limit if len(rows) > limit else None}


def _counts(db_path: Path, sql: str, parameters: Sequence[Any], offset: int, limit: int) -> Counts:
    with reading(db_path) as connection:
        rows = connection.execute(sql, (*parameters, limit + 1, offset)).fetchall()
    items: list[Count] = [{"name": name, "runs": runs} for name, runs in rows[:limit]]
    return {"items": items, "next": offset + limit if len(rows) > limit else None}
