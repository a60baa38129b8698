"""Which runs a list shows and in what order: the words of a question, and the SQL that they become.

A filter is ``config.NAME OP VALUE`` or ``metric.NAME OP VALUE`` written without spaces, as in ``metric.loss<0.5`` or
``config.optimizer.name=adam``; OP is ``= != < <= > >=``. A metric's value is its last one. VALUE is read as JSON where
it is some, else as text. A sort is ``created``, ``updated``, ``name``, ``config.NAME`` or ``metric.NAME``, descending
with ``-`` in front; runs that have no such value come last.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from flashtrial.protocol.trials import RunStatus
from flashtrial.server.records import MAX_INT64, NOT_FINITE, SeriesKind

_FILTER = re.compile(r"(config|metric)\.(.+?)(<=|>=|!=|=|<|>)(.*)", re.DOTALL)
_COLUMNS = {"created": "created_ms", "updated": "updated_ms", "name": "name"}
_NEWEST_FIRST = "created_ms DESC, number DESC"
MAX_OFFSET = 10**9


class BadCursor(ValueError):
    """Raised when a cursor is none that a page of runs ended with."""


class BadFilter(ValueError):
    """Raised when a filter or a sort is not of the form that the module's docstring gives."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs, and from where on; `limit` is 1 to 1000. All conditions must hold, and all `tags` be there.

    `search` is a part of the name or id. Cursors belong to the question that they were given for.
    """

    limit: int = 100
    cursor: str | None = None
    project: str | None = None
    status: RunStatus | None = None
    tags: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    search: str | None = None
    sort: str | None = None


@dataclass(slots=True)
class RunSql:
    """The words behind ``FROM runs``, and their parameters. `offset` is None where pages go by age."""

    parameters: dict[str, object]
    order: str = _NEWEST_FIRST
    offset: int | None = None
    conditions: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""

    def name(self, value: object) -> str:
        """A parameter of its own that stands for `value`."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def next_cursor(self, created_ms: int, number: int, limit: int) -> str:
        """Where the page behind one that ends with this run starts."""
        return f"{created_ms}-{number}" if self.offset is None else f"o{self.offset + limit}"


def sql_of(query: RunQuery) -> RunSql:
    """The query as SQL. Raises `BadCursor`, `BadFilter`."""
    sql = RunSql({"limit": query.limit + 1})
    _add_equals(sql, query)
    for tag in query.tags:
        sql.conditions.append(f"EXISTS (SELECT 1 FROM json_each(tags) WHERE value = {sql.name(tag)})")  # noqa: S608 - our own words
    for one in query.filters:
        sql.conditions.append(_filter(sql, one))
    if query.sort is not None:
        sql.order = _order(sql, query.sort)
        sql.offset = _parse_offset(query.cursor)
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


def _filter(sql: RunSql, text: str) -> str:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise BadFilter(f"{text!r:.100} is no filter: write config.NAME=VALUE or metric.NAME<VALUE")
    of, name, operator, written = match.groups()
    value = _value(written)
    found = _config(sql, name) if of == "config" else _metric(sql, name)
    if isinstance(value, float) and math.isnan(value):
        return _is_nan(sql, name, operator, of)
    if isinstance(value, str):
        return f"{found} {operator} {sql.name(value)}"
    return f"typeof({found}) IN ('integer', 'real') AND {found} {operator} {sql.name(value)}"


def _is_nan(sql: RunSql, name: str, operator: str, of: str) -> str:
    """NaN compares with nothing; to ask whether a value is NaN must work all the same."""
    if operator not in ("=", "!="):
        raise BadFilter("NaN is neither more nor less than anything: ask = or !=")
    negation = "NOT" if operator == "!=" else ""
    if of == "config":
        return f"{_config(sql, name)} IS {negation} 'NaN'"
    return (
        f"EXISTS (SELECT 1 FROM series WHERE run = runs.number AND kind = '{SeriesKind.METRIC}' "  # noqa: S608 - our own words
        f"AND name = {sql.name(name)} AND last_value IS {negation} NULL)"
    )


def _value(written: str) -> float | int | str:
    if written in NOT_FINITE:
        return NOT_FINITE[written]
    try:
        value = orjson.loads(written)
    except orjson.JSONDecodeError:
        return written
    if isinstance(value, int) and abs(value) > MAX_INT64:
        return float(value)
    return value if isinstance(value, int | float | str) else written


def _config(sql: RunSql, name: str) -> str:
    """The value at a path of the config, or under the whole name where that is a key."""
    if '"' in name:
        raise BadFilter("a name in a filter has no quotes")
    nested = sql.name("$." + ".".join(f'"{part}"' for part in name.split(".")))
    flat = sql.name(f'$."{name}"')
    return f"coalesce(json_extract(config, {nested}), json_extract(config, {flat}))"


def _metric(sql: RunSql, name: str) -> str:
    return (
        f"(SELECT last_value FROM series WHERE run = runs.number AND kind = '{SeriesKind.METRIC}' "  # noqa: S608 - our own words
        f"AND series.name = {sql.name(name)})"
    )


def _order(sql: RunSql, sort: str) -> str:
    direction = "DESC" if sort.startswith("-") else "ASC"
    what = sort.removeprefix("-")
    of, _, name = what.partition(".")
    if what in _COLUMNS:
        key = _COLUMNS[what]
    elif name and of in ("config", "metric"):
        key = _config(sql, name) if of == "config" else _metric(sql, name)
    else:
        raise BadFilter(f"{sort!r:.100} is no order: created, updated, name, config.NAME or metric.NAME")
    return f"{key} IS NULL, {key} {direction}, {_NEWEST_FIRST}"


def _parse_cursor(cursor: str) -> tuple[int, int]:
    created_ms, _, number = cursor.partition("-")
    if not _are_numbers((created_ms, number)):
        raise BadCursor(f"{cursor!r:.60} is no cursor of a list of runs")
    return int(created_ms), int(number)


def _parse_offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    offset = cursor.removeprefix("o")
    if offset == cursor or not _are_numbers([offset]) or int(offset) > MAX_OFFSET:
        raise BadCursor(f"{cursor!r:.60} is no cursor of a sorted list of runs")
    return int(offset)


def _are_numbers(texts: Iterable[str]) -> bool:
    return all(text.isascii() and text.isdecimal() and len(text) < 19 for text in texts)
