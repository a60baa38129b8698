"""Which runs a list shows and in what order: a question, and the SQL that it becomes.

The words of filters and orders are those of `flashtrial.server.run_words`. A sort is ``created``, ``updated``,
``name``, or a field, descending with ``-`` in front; runs that have no such value come last. A page ends with a cursor,
which names the last run by its place in the order: runs that come or change elsewhere move nothing.
"""

import base64
import functools
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from flashtrial.protocol.trials import RunStatus
from flashtrial.server.records import NOT_FINITE, SeriesKind, not_finite_name
from flashtrial.server.run_words import BadFilter, Condition, Field, Of, condition
from flashtrial.server.run_words import field as field_of

__all__ = ["BadCursor", "BadFilter", "RunQuery", "RunSql", "know_configs", "sql_of", "value_at"]

_COLUMNS = {"created": "created_ms", "updated": "updated_ms", "name": "name"}
_NEWEST_FIRST = "created_ms DESC, number DESC"
_FUNCTION = "config_at"
_SORTED = "s"  # how a cursor of a sorted list begins


class BadCursor(ValueError):
    """Raised when a cursor is none that a page of runs ended with."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs, and from where on; `limit` is 1 to 1000. All conditions must hold, and all `tags` be there.

    `search` is a part of the name or id. Cursors belong to the question that they were given for. `fields` are the
    columns to show; all of them where none is named.
    """

    limit: int = 100
    cursor: str | None = None
    project: str | None = None
    status: RunStatus | None = None
    tags: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    search: str | None = None
    sort: str | None = None
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class RunSql:
    """The words behind ``FROM runs``, and their parameters. `key` is what sorts the list, where that is not age."""

    parameters: dict[str, object]
    order: str = _NEWEST_FIRST
    key: str | None = None
    conditions: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""

    def name(self, value: object) -> str:
        """A parameter of its own that stands for `value`."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def next_cursor(self, created_ms: int, number: int, key: float | str | None) -> str:
        """Where the page behind one that ends with this run starts; `key` is the run's value of what sorts."""
        if self.key is None:
            return f"{created_ms}-{number}"
        is_number = isinstance(key, float) and not math.isfinite(key)
        place = [not_finite_name(float(key)) if is_number and key is not None else key, is_number, created_ms, number]
        return _SORTED + base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def know_configs(connection: sqlite3.Connection) -> None:
    """Make known to the connection what `sql_of` asks of configs."""
    connection.create_function(_FUNCTION, 2, _config_at, deterministic=True)


def _config_at(config: str, paths: str) -> float | str | None:
    """The value at the first of these paths that there is, as SQLite has it: maps and lists as JSON."""
    value = value_at(orjson.loads(config), _paths(paths))
    return value if value is None or isinstance(value, str | int | float) else orjson.dumps(value).decode()


@functools.lru_cache(maxsize=64)
def _paths(written: str) -> Sequence[Sequence[str]]:
    found: Sequence[Sequence[str]] = orjson.loads(written)
    return found


def value_at(config: Mapping[str, Any], paths: Iterable[Sequence[str]]) -> Any:
    """The value at the first of these paths that there is; None where there is none."""
    for path in paths:
        found: Any = config
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def sql_of(query: RunQuery) -> RunSql:
    """The query as SQL, for a connection that knows configs. Raises `BadCursor`, `BadFilter`."""
    sql = RunSql({"limit": query.limit + 1})
    _add_equals(sql, query)
    for tag in query.tags:
        sql.conditions.append(f"EXISTS (SELECT 1 FROM json_each(tags) WHERE value = {sql.name(tag)})")  # noqa: S608 - our own words
    for one in query.filters:
        sql.conditions.append(_filter(sql, condition(one)))
    if query.sort is not None:
        _add_order(sql, query.sort, query.cursor)
    elif query.cursor is not None:
        created_ms, number = (sql.name(each) for each in _parse_cursor(query.cursor))
        sql.conditions.append(f"(created_ms, number) < ({created_ms}, {number})")
    return sql


def _add_equals(sql: RunSql, query: RunQuery) -> None:
    if query.project is not None:
        sql.conditions.append(f"project = {sql.name(query.project)}")
    if query.status is not None:
        sql.conditions.append(f"status = {sql.name(query.status)}")
    if query.search:
        part = sql.name(query.search)
        sql.conditions.append(f"(instr(lower(name), lower({part})) OR instr(id, {part}))")


def _filter(sql: RunSql, asked: Condition) -> str:
    if asked.is_of_nan:
        return _is_nan(sql, asked)
    found = _found(sql, asked.field)
    if isinstance(asked.value, str):
        return f"{found} {asked.operator} {sql.name(asked.value)}"
    return f"typeof({found}) IN ('integer', 'real') AND {found} {asked.operator} {sql.name(asked.value)}"


def _is_nan(sql: RunSql, asked: Condition) -> str:
    """NaN compares with nothing; to ask whether a value is NaN must work all the same."""
    negation = "NOT" if asked.operator == "!=" else ""
    if asked.field.of is Of.CONFIG:
        return f"{_found(sql, asked.field)} IS {negation} 'NaN'"
    return (
        f"EXISTS (SELECT 1 FROM series WHERE run = runs.number AND kind = '{SeriesKind.METRIC}' "  # noqa: S608 - our own words
        f"AND name = {sql.name(asked.field.name)} AND last_value IS {negation} NULL)"
    )


def _found(sql: RunSql, asked: Field) -> str:
    if asked.of is Of.CONFIG:
        return f"{_FUNCTION}(config, {sql.name(orjson.dumps(asked.paths).decode())})"
    return (
        f"(SELECT last_value FROM series WHERE run = runs.number AND kind = '{SeriesKind.METRIC}' "  # noqa: S608 - our own words
        f"AND series.name = {sql.name(asked.name)})"
    )


def _add_order(sql: RunSql, sort: str, cursor: str | None) -> None:
    is_descending = sort.startswith("-")
    what = sort.removeprefix("-")
    try:
        key = _COLUMNS.get(what) or _found(sql, field_of(what))
    except BadFilter:
        known = ", ".join(_COLUMNS)
        raise BadFilter(f"{sort!r:.100} is no order: {known}, config.NAME or metric.NAME") from None
    sql.key = key
    sql.order = f"{key} IS NULL, {key} {'DESC' if is_descending else 'ASC'}, {_NEWEST_FIRST}"
    if cursor is not None:
        sql.conditions.append(_behind(sql, key, *_parse_sorted(cursor), is_descending=is_descending))


def _behind(
    sql: RunSql, key: str, value: float | str | None, created_ms: int, number: int, *, is_descending: bool
) -> str:
    """That a run comes later in the order than that place."""
    younger = f"(created_ms, number) < ({sql.name(created_ms)}, {sql.name(number)})"
    if value is None:
        return f"({key} IS NULL AND {younger})"
    place = sql.name(value)
    return f"({key} IS NULL OR {key} {'<' if is_descending else '>'} {place} OR ({key} = {place} AND {younger}))"


def _parse_cursor(cursor: str) -> tuple[int, int]:
    created_ms, _, number = cursor.partition("-")
    if not _are_numbers((created_ms, number)):
        raise BadCursor(f"{cursor!r:.60} is no cursor of a list of runs")
    return int(created_ms), int(number)


def _parse_sorted(cursor: str) -> tuple[float | str | None, int, int]:
    """The value, the age and the key of the run that a page ended with."""
    try:
        written = cursor.removeprefix(_SORTED).encode("ascii")
        place = orjson.loads(base64.urlsafe_b64decode(written + b"=" * (-len(written) % 4)))
    except ValueError:
        place = None
    match place:
        case [None | str() | int() | float() as value, bool(is_number), int(created_ms), int(number)]:
            if cursor.startswith(_SORTED) and _fit(created_ms, number) and (not is_number or value in NOT_FINITE):
                return NOT_FINITE[value] if is_number and isinstance(value, str) else value, created_ms, number
    raise BadCursor(f"{cursor!r:.60} is no cursor of a sorted list of runs")


def _fit(*numbers: int) -> bool:
    return all(-(2**63) <= number < 2**63 for number in numbers)


def _are_numbers(texts: Iterable[str]) -> bool:
    return all(text.isascii() and text.isdecimal() and len(text) < 19 for text in texts)
