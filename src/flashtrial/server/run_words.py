"""The words in which lists of runs are asked for: fields, filters and orders, taken apart. Pure.

A field of a run is ``config.NAME`` or ``metric.NAME``; a metric's value is its last one. NAME is written as it is,
where dots lead into maps or stand for themselves, or in quotes as JSON writes a text: then it is one key, whatever is
in it. A filter is a field, one of ``= != < <= > >=``, and a value, read as JSON where it is some, else as text.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson

from flashtrial.server.records import MAX_INT64, NOT_FINITE

OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
COLUMNS = ("id", "project", "name", "status", "tags", "config", "summary", "points", "created_ms", "updated_ms")
_BARE = re.compile(r"(.+?)\s*(<=|>=|!=|=|<|>)", re.DOTALL)
_OPERATOR = re.compile(r"\s*(<=|>=|!=|=|<|>)")
_LIKE_AN_OPERATOR = ("=", "<", ">", "!", "~")


class BadFilter(ValueError):
    """Raised when a field, a filter or an order is not of the form that the module's docstring gives."""


class Of(StrEnum):
    """Where a field is looked up."""

    CONFIG = "config"
    METRIC = "metric"


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a run. With `is_one_key`, dots in the name lead nowhere."""

    of: Of
    name: str
    is_one_key: bool = False

    @property
    def paths(self) -> list[list[str]]:
        """Where in a config it may be, the better place first."""
        whole = [self.name]
        return [whole] if self.is_one_key or "." not in self.name else [self.name.split("."), whole]

    @property
    def written(self) -> str:
        return f"{self.of}.{self.name}"


@dataclass(frozen=True, slots=True)
class Condition:
    """A field compared with a value."""

    field: Field
    operator: str
    value: float | int | str

    @property
    def is_of_nan(self) -> bool:
        return isinstance(self.value, float) and math.isnan(self.value)


def condition(text: str) -> Condition:
    """A filter. Raises `BadFilter`."""
    of, rest = _of(text)
    name, rest, is_one_key = _quoted(rest, text) if rest.startswith('"') else _bare(rest, text)
    match = _OPERATOR.match(rest)
    if match is None:
        raise BadFilter(f"{text!r:.100}: no operator behind the name; known are {' '.join(OPERATORS)}")
    written = rest[match.end() :].strip()
    if written.startswith(_LIKE_AN_OPERATOR):
        raise BadFilter(
            f"{text!r:.100}: no such operator; known are {' '.join(OPERATORS)}, and a value that begins like one is "
            "put in quotes"
        )
    found = Condition(Field(of, name, is_one_key), match[1], _value(written))
    if found.is_of_nan and found.operator not in ("=", "!="):
        raise BadFilter(f"{text!r:.100}: NaN is neither more nor less than anything: ask = or !=")
    return found


def field(text: str) -> Field:
    """A field by itself. Raises `BadFilter`."""
    of, rest = _of(text)
    if rest.startswith('"'):
        name, behind, _ = _quoted(rest, text)
        if behind:
            raise BadFilter(f"{text!r:.100}: nothing stands behind the name in quotes")
        return Field(of, name, is_one_key=True)
    if not rest:
        raise BadFilter(f"{text!r:.100}: no name behind {of}.")
    return Field(of, rest)


def _of(text: str) -> tuple[Of, str]:
    of, dot, rest = text.lstrip().partition(".")
    if not dot or of not in tuple(Of):
        raise BadFilter(
            f"{text!r:.100}: only config.NAME and metric.NAME can be asked for here; project, status, tag and search "
            "are parameters of their own"
        )
    return Of(of), rest


def _bare(rest: str, text: str) -> tuple[str, str, bool]:
    match = _BARE.match(rest)
    if match is None:
        raise BadFilter(
            f"{text!r:.100} is no filter: write config.NAME=VALUE or metric.NAME<VALUE; known operators are "
            f"{' '.join(OPERATORS)}"
        )
    return match[1], rest[match.start(2) :], False


def _quoted(rest: str, text: str) -> tuple[str, str, bool]:
    try:
        name, end = json.JSONDecoder().raw_decode(rest)
        name.encode()  # half a pair of surrogates is no text, and nothing is stored under it
    except ValueError as error:
        raise BadFilter(f"{text!r:.100}: a name in quotes is a text as JSON writes it: {error}") from error
    return name, rest[end:], True


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


@dataclass(frozen=True, slots=True)
class Columns:
    """What of each run a list shows: columns of its own, and single values of its config and metrics."""

    names: tuple[str, ...]
    fields: tuple[Field, ...]


def columns(texts: Sequence[str]) -> Columns:
    """The columns that are asked for, the id always among them. Raises `BadFilter`."""
    known = tuple(text for text in texts if text in COLUMNS)
    try:
        fields = tuple(field(text) for text in texts if text not in COLUMNS)
    except BadFilter as error:
        raise BadFilter(f"no such column: known are {', '.join(COLUMNS)}, config.NAME, metric.NAME ({error})") from None
    return Columns(tuple(dict.fromkeys(("id", *known))), fields)
