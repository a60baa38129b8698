"""What ``server.db`` holds of runs and no record tells, as lines of JSON, and back.

Of each run how it stands and what it inherited; of each writer which numbers were taken, its clock and its last sign of
life; of experiments who controlled them, and the commands. Putting lines in twice changes nothing, and what a home
knows better than the lines stays.
"""

import base64
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import orjson

from flashtrial.core.masking import masked_config, masked_text
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.intervals import IntervalSet
from flashtrial.server.storage.columns import decode_block

Line: TypeAlias = dict[str, Any]

_RUN = ("created_ms", "last_seen_ms", "status", "reason", "tags", "config")
_WRITER = ("ahead_ms", "role", "beat", "heard_ms", "gone_reason", "host")
_EXPERIMENT = ("number", "name", "epoch", "created_ms", "begun_ms", "updated_ms")
_INHERITED = ("kind", "name", "first_step", "last_step", "points", "summary", "data")
_COMMAND = (
    *("id", "run_id", "kind", "seen_version", "config", "warm_start", "state", "refusal", "reason", "new_run_id"),
    *("epoch", "created_ms", "expires_ms", "settled_ms"),
)

NAMES = {
    "run": ("id", *_RUN),
    "writer": ("run_id", "id", "taken", *_WRITER),
    "inheritance": ("run_id", "config", "tags", "has_points", "curves"),
    "experiment": _EXPERIMENT,
    "command": ("experiment", *_COMMAND),
    "run_ids": ("next",),
}


def lines_of(connection: sqlite3.Connection, run_ids: Iterable[str]) -> Iterator[Line]:
    """The lines of the runs, of the experiments that they belong to, and the next free id of a trial."""
    run_ids = list(run_ids)
    for run_id in run_ids:
        [run] = _rows(connection, f"SELECT number, id, {', '.join(_RUN)} FROM runs WHERE id = ?", run_id)  # noqa: S608 - our own words
        number = run.pop("number")
        yield {"is": "run", **run}
        writers = f"SELECT id, taken, {', '.join(_WRITER)} FROM writers WHERE run = ? ORDER BY number"  # noqa: S608 - our own words
        for writer in _rows(connection, writers, number):
            spans = list(IntervalSet.decode(writer.pop("taken")).intervals())
            yield {"is": "writer", "run_id": run_id, **writer, "taken": spans}
        yield from _inheritance(connection, run_id, number)
    yield from _control(connection, orjson.dumps(run_ids).decode())


def _inheritance(connection: sqlite3.Connection, run_id: str, number: int) -> Iterator[Line]:
    """What a fork has of a parent that may be gone: blocks are bytes, and so in base 64."""
    for line in _rows(connection, "SELECT config, tags, has_points FROM inheritance WHERE run = ?", number):
        sql = f"SELECT {', '.join(_INHERITED)} FROM inherited WHERE run = ? ORDER BY number"  # noqa: S608 - our own words
        curves = [
            {**curve, **{name: base64.b64encode(curve[name]).decode() for name in ("summary", "data")}}
            for curve in _rows(connection, sql, number)
        ]
        yield {"is": "inheritance", "run_id": run_id, **line, "curves": curves}


def _control(connection: sqlite3.Connection, run_ids: str) -> Iterator[Line]:
    of_runs = "(SELECT value FROM json_each(?1))"
    experiments = (
        f"SELECT {', '.join(_EXPERIMENT)} FROM experiments WHERE tracked_run IN {of_runs} OR EXISTS "  # noqa: S608 - our own words
        f"(SELECT 1 FROM trials WHERE experiment = experiments.number AND trials.tracked_run IN {of_runs}) "
        "ORDER BY number"
    )
    for experiment in list(_rows(connection, experiments, run_ids)):
        yield {"is": "experiment", **experiment}
        commands = f"SELECT {', '.join(_COMMAND)} FROM commands WHERE experiment = ? ORDER BY number"  # noqa: S608 - our own words
        for command in _rows(connection, commands, experiment["number"]):
            yield {"is": "command", "experiment": experiment["name"], **command}
    yield from ({"is": "run_ids", **row} for row in _rows(connection, "SELECT next FROM run_ids"))


def checked(line: Line) -> Line:
    """A line with what it needs; the numbers that a writer took as a set. Raises ValueError, KeyError, TypeError."""
    names = NAMES[line["is"]]
    found = {name: line[name] for name in names}
    if line["is"] == "run":
        found |= {"status": RunStatus(line["status"]).value, "tags": _json(line["tags"], list)}
        found["config"] = _json(line["config"], dict)
    if line["is"] == "inheritance":
        found |= {"config": _json(line["config"], dict), "tags": _json(line["tags"], list)}
        found["curves"] = [_curve(curve) for curve in line["curves"]]
    if line["is"] == "writer":
        found["taken"] = IntervalSet.of((int(first), int(last)) for first, last in line["taken"])
    return {"is": line["is"], **found}


def _curve(said: Line) -> Line:
    blocks = {name: base64.b64decode(said[name], validate=True) for name in ("summary", "data")}
    decode_block(blocks["data"], said["points"])
    return _only(said, *_INHERITED) | blocks


def masked(line: Line) -> Line:
    """A line without secrets in its configuration, tags or reasons."""
    config, tags = line.get("config"), line.get("tags")
    found = {} if config is None else {"config": orjson.dumps(masked_config(orjson.loads(config))).decode()}
    if tags is not None:
        found["tags"] = orjson.dumps([masked_text(tag) for tag in orjson.loads(tags)]).decode()
    reasons = {name: masked_text(line[name]) for name in ("reason", "gone_reason") if line.get(name) is not None}
    return line | found | reasons


def _json(text: str, shape: type) -> str:
    if not isinstance(orjson.loads(text), shape):
        raise TypeError(f"not a JSON {shape.__name__}")
    return text


def prepare(connection: sqlite3.Connection, run_ids: Iterable[str], lines: Iterable[Line], now_ms: int) -> None:
    """Make room for the records to come: runs may come back, and folding them needs to know their writers' clocks."""
    for run_id in run_ids:
        connection.execute("DELETE FROM removed WHERE run_id = ?", (run_id,))
    for line in lines:
        match line["is"]:
            case "run":
                connection.execute(
                    "INSERT INTO runs (id, project, name, status, tags, config, created_ms, updated_ms, last_seen_ms) "
                    "VALUES (:id, 'default', :id, 'created', '[]', '{}', :created_ms, :created_ms, :now_ms) "
                    "ON CONFLICT (id) DO NOTHING",
                    {**line, "now_ms": now_ms},
                )
            case "writer":
                connection.execute(
                    "INSERT INTO writers (run, id, taken, ahead_ms) SELECT number, :id, x'', :ahead_ms FROM runs "
                    "WHERE id = :run_id ON CONFLICT (run, id) DO NOTHING",
                    _only(line, "id", "run_id", "ahead_ms"),
                )
            case "inheritance":  # ahead of the records that ask for it
                _put_inheritance(connection, line)
            case "experiment":  # of epoch 0 as yet, so that reports of every epoch are heard
                _keep_number(connection, _only(line, *_EXPERIMENT))


def _put_inheritance(connection: sqlite3.Connection, line: Line) -> None:
    (number,) = connection.execute("SELECT number FROM runs WHERE id = ?", (line["run_id"],)).fetchone()
    known = connection.execute("SELECT has_points FROM inheritance WHERE run = ?", (number,)).fetchone()
    if known is not None and known[0] >= line["has_points"]:
        return
    connection.execute(
        "INSERT INTO inheritance (run, config, tags, has_points) VALUES (:run, :config, :tags, :has_points) "
        "ON CONFLICT (run) DO UPDATE SET has_points = excluded.has_points",
        {**_only(line, "config", "tags", "has_points"), "run": number},
    )
    names = ("run", *_INHERITED)
    connection.executemany(
        f"INSERT INTO inherited ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})",  # noqa: S608 - our own words
        ({"run": number, **curve} for curve in line["curves"]),
    )


def _keep_number(connection: sqlite3.Connection, line: Line) -> None:
    """An experiment under its own number, where that is free."""
    taken = connection.execute("SELECT 1 FROM experiments WHERE number = :number", line).fetchone()
    connection.execute(
        "INSERT INTO experiments (number, name, created_ms, begun_ms, updated_ms) "
        "VALUES (:number, :name, :created_ms, :begun_ms, :updated_ms) ON CONFLICT (name) DO NOTHING",
        {**line, "number": None if taken else line["number"]},
    )


def complete(
    connection: sqlite3.Connection, lines: Iterable[Line], called_here: Mapping[str, str], now_ms: int
) -> set[str]:
    """Add what stands in no record, once all of those are in; the runs of which the lines know all that is here.

    `called_here` has the ids in the lines of writers that this home has under another one.
    """
    lines = list(lines)
    runs = {line["id"]: line for line in lines if line["is"] == "run"}
    writers: dict[str, list[Line]] = {run_id: [] for run_id in runs}
    for line in lines:
        match line["is"]:
            case "writer":
                writers[line["run_id"]].append(line)
            case "experiment":
                connection.execute(
                    "UPDATE experiments SET epoch = max(epoch, :epoch), created_ms = min(created_ms, :created_ms), "
                    "begun_ms = max(begun_ms, :begun_ms), updated_ms = max(updated_ms, :updated_ms) WHERE name = :name",
                    _only(line, *_EXPERIMENT[1:]),
                )
            case "command":
                _put_command(connection, line, now_ms)
            case "run_ids":
                connection.execute("UPDATE run_ids SET next = max(next, ?)", (line["next"],))
    return {run_id for run_id, line in runs.items() if _settle(connection, line, writers[run_id], called_here)}


def _put_command(connection: sqlite3.Connection, line: Line, now_ms: int) -> None:
    """A command that still waited is withdrawn: where it was given, it may be carried out."""
    if line["state"] == "pending":
        line = {**line, "state": "withdrawn", "settled_ms": now_ms}
    connection.execute(
        f"INSERT OR IGNORE INTO commands (experiment, {', '.join(_COMMAND)}) "  # noqa: S608 - our own words
        f"SELECT number, {', '.join(f':{name}' for name in _COMMAND)} FROM experiments WHERE name = :experiment",
        _only(line, "experiment", *_COMMAND),
    )


def _settle(connection: sqlite3.Connection, run: Line, writers: Iterable[Line], called_here: Mapping[str, str]) -> bool:
    """Write how a run and its writers stand, unless more is known of them here; whether that was done."""
    said = {line["id"]: line for line in writers}
    (number,) = connection.execute("SELECT number FROM runs WHERE id = ?", (run["id"],)).fetchone()
    here = connection.execute("SELECT id, taken FROM writers WHERE run = ?", (number,)).fetchall()
    for writer_id, taken in here:
        line = said.get(called_here.get(writer_id, writer_id))
        if taken and (line is None or not line["taken"].covers(IntervalSet.decode(taken))):
            return False
    for line in said.values():
        connection.execute(
            f"UPDATE writers SET taken = :taken, {', '.join(f'{name} = :{name}' for name in _WRITER)} "  # noqa: S608 - our own words
            "WHERE run = :run AND id = :id",
            {**_only(line, "id", *_WRITER), "run": number, "taken": line["taken"].encode()},
        )
    connection.execute(
        f"UPDATE runs SET {', '.join(f'{name} = :{name}' for name in _RUN)} WHERE number = :number",  # noqa: S608 - our own words
        {**_only(run, *_RUN), "number": number},
    )
    return True


def take_numbers(connection: sqlite3.Connection, like: Line, writer_id: str) -> None:
    """Let `writer_id` have taken what the writer of the line `like` took, which is called so here.

    What is said again gets the number that it had, and is a repetition.
    """
    row = connection.execute("SELECT number FROM runs WHERE id = ?", (like["run_id"],)).fetchone()
    if row is None:
        return
    old = connection.execute("SELECT taken FROM writers WHERE run = ? AND id = ?", (*row, writer_id)).fetchone()
    taken = IntervalSet.decode(old[0]) if old else IntervalSet()
    for first, last in like["taken"].intervals():
        for seq in range(first, last + 1):
            taken.add(seq)
    connection.execute(
        "INSERT INTO writers (run, id, taken, role, beat, heard_ms, host) "
        "VALUES (:run, :id, :taken, :role, :beat, :heard_ms, :host) "
        "ON CONFLICT (run, id) DO UPDATE SET taken = excluded.taken",
        {**_only(like, "role", "beat", "heard_ms", "host"), "run": row[0], "id": writer_id, "taken": taken.encode()},
    )


def _only(line: Mapping[str, Any], *names: str) -> Line:
    return {name: line[name] for name in names}


def _rows(connection: sqlite3.Connection, sql: str, *values: object) -> Iterator[Line]:
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)
