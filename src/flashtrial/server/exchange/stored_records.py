"""A run's records, made again out of what is stored of them, in the form in which JSON ingest takes them.

Every record comes back with its writer, number, time and body, so that taking them in elsewhere gives the same run,
and taking them in twice changes nothing. A metric record without values is the one kind that leaves no trace.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from flashtrial.protocol.records import RecordKind
from flashtrial.server.series_views import shown_values
from flashtrial.server.storage.columns import Columns
from flashtrial.server.storage.curve_reader import everything


def records_of(connection: sqlite3.Connection, run_id: str) -> Iterator[dict[str, Any]]:
    """The records of the run, writer by writer."""
    writers = connection.execute(
        "SELECT writers.number, writers.id, run FROM writers JOIN runs ON runs.number = run WHERE runs.id = ? "
        "ORDER BY writers.number",
        (run_id,),
    ).fetchall()
    points = _points_by_writer(connection, writers[0][2]) if writers else {}
    for number, writer_id, _ in writers:
        for record in [*_others(connection, number), *_metrics(points.get(number, []))]:
            yield {"run_id": run_id, "writer_id": writer_id, **record}


def _others(connection: sqlite3.Connection, writer: int) -> Iterator[dict[str, Any]]:
    """What is no number, kind by kind."""
    for sql in (_CHANGES, _DOCUMENTS):
        for seq, time_ms, kind, body in connection.execute(sql, (writer,)):
            yield _record(seq, kind, time_ms, orjson.loads(body))
    for seq, time_ms, stream, line, text in connection.execute(_CONSOLE, (writer,)):
        yield _record(seq, RecordKind.CONSOLE, time_ms, {"stream": stream, "line": line, "text": text})
    for row in connection.execute(_FILES, (writer,)):
        seq, time_ms, *fields, meta = row
        body = dict(zip(_FILE_FIELDS, fields, strict=True)) | {"meta": orjson.loads(meta)}
        yield _record(seq, RecordKind.FILE, time_ms, {name: value for name, value in body.items() if value is not None})


_CHANGES = "SELECT seq, time_ms, kind, body FROM changes WHERE writer = ? ORDER BY seq"
_DOCUMENTS = "SELECT seq, time_ms, kind, body FROM documents WHERE writer = ? ORDER BY seq"
_CONSOLE = (
    "SELECT seq, time_ms, stream, line, text FROM console "
    "WHERE run = (SELECT run FROM writers WHERE number = ?1) AND writer = ?1 ORDER BY seq"
)
_FILES = (
    "SELECT seq, time_ms, name, step, position, type, sha256, size, mime, file_name, caption, meta FROM files "
    "WHERE writer = ? ORDER BY seq"
)
_FILE_FIELDS = ("name", "step", "index", "type", "sha256", "size", "mime", "file_name", "caption")


def _points_by_writer(connection: sqlite3.Connection, run: int) -> dict[int, list[tuple[str, str, Columns]]]:
    """Of each writer the kind, name and points of its series."""
    found: dict[int, list[tuple[str, str, Columns]]] = {}
    for number, kind, name in connection.execute("SELECT number, kind, name FROM series WHERE run = ?", (run,)):
        for writer, columns in everything(connection, number).items():
            found.setdefault(writer, []).append((kind, name, columns))
    return found


def _metrics(series: Iterable[tuple[str, str, Columns]]) -> Iterator[dict[str, Any]]:
    """The values that were logged together, together again."""
    series = list(series)
    if not series:
        return
    seqs = np.concatenate([columns.seqs for _, _, columns in series])
    owners = np.repeat(np.arange(len(series)), [len(columns) for _, _, columns in series])
    steps = np.concatenate([columns.steps for _, _, columns in series])
    times_ms = np.concatenate([columns.times_ms for _, _, columns in series])
    values = shown_values(np.concatenate([columns.values for _, _, columns in series]))
    order = np.lexsort((owners, seqs)).tolist()
    rows = zip(seqs.tolist(), owners.tolist(), steps.tolist(), times_ms.tolist(), values, strict=True)
    every = list(rows)
    for seq, group in groupby((every[place] for place in order), key=itemgetter(0)):
        together = list(group)
        _, owner, step, time_ms, _ = together[0]
        body = {"step": step, "values": {series[each][1]: value for _, each, _, _, value in together}}
        yield _record(seq, series[owner][0], time_ms, body)


def _record(seq: int, kind: str, time_ms: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"seq": seq, "kind": kind, "time_ms": time_ms, "body": body}
