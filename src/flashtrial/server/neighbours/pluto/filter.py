"""Pluto's filter and order of runs: Mongo-shaped terms over a run as it is shown. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

MAX_DEPTH = 50
MAX_PATTERN_CHARS = 200

_FIELDS = {
    "state": "status",
    "status": "status",
    "name": "name",
    "displayName": "name",
    "display_name": "name",
    "tags": "tags",
    "created_at": "createdAt",
    "createdAt": "createdAt",
    "updated_at": "updatedAt",
    "updatedAt": "updatedAt",
    "heartbeat_at": "updatedAt",
    "heartbeatAt": "updatedAt",
}
_MAPS = {
    "config.": "config",
    "systemMetadata.": "systemMetadata",
    "summaryMetrics.": "summaryMetrics",
    "summary_metrics.": "summaryMetrics",
}


class BadFilter(ValueError):
    """Raised when a filter or an order is none that is known."""


def matches(run: Mapping[str, Any], term: object, depth: int = 0) -> bool:
    """Whether `run` is one of those that `term` asks for. Raises `BadFilter`."""
    if not isinstance(term, dict) or depth > MAX_DEPTH:
        raise BadFilter("a filter is an object, not nested too deeply")
    return all(_matches_one(run, key, value, depth + 1) for key, value in term.items())


def in_order(runs: Sequence[Mapping[str, Any]], sort: str | None) -> list[Mapping[str, Any]]:
    """`runs` by ``[+|-]field``; those without the field are last. Raises `BadFilter`."""
    if not sort:
        return list(runs)
    field = sort.lstrip("+- ").removesuffix(".value")
    with_field = [run for run in runs if value_of(run, field) is not None]
    without = [run for run in runs if value_of(run, field) is None]
    return [*sorted(with_field, key=lambda run: _rank(value_of(run, field)), reverse=sort.startswith("-")), *without]


def value_of(run: Mapping[str, Any], field: str) -> Any:
    """What the run has under a field's name; None when it has nothing. Raises `BadFilter` for no such field."""
    if field in _FIELDS:
        return run.get(_FIELDS[field])
    for prefix, place in _MAPS.items():
        if field.startswith(prefix):
            return _inside(run.get(place), field.removeprefix(prefix).removesuffix(".value"))
    raise BadFilter(f"unknown filter field: {field!r:.100}")


def _matches_one(run: Mapping[str, Any], key: str, value: Any, depth: int) -> bool:
    match key:
        case "$and" | "$or" if isinstance(value, list):
            found = (matches(run, term, depth) for term in value)
            return all(found) if key == "$and" else any(found)
        case "$not":
            return not matches(run, value, depth)
    if key.startswith("$"):
        raise BadFilter(f"unknown boolean operator: {key!r:.100}")
    actual = value_of(run, key)
    if isinstance(value, dict) and any(name.startswith("$") for name in value):
        return all(_compare(actual, operator, wanted) for operator, wanted in value.items())
    return _compare(actual, "$eq", value)


def _compare(actual: Any, operator: str, wanted: Any) -> bool:
    test = _TESTS.get(operator)
    if test is None:
        raise BadFilter(f"unknown leaf operator {operator!r:.100}")
    if operator in ("$ne", "$nin"):
        return not _compare(actual, {"$ne": "$eq", "$nin": "$in"}[operator], wanted)
    if isinstance(actual, list):
        return any(_test(test, each, wanted) for each in actual)
    return _test(test, actual, wanted)


def _test(test: Callable[[Any, Any], bool], actual: Any, wanted: Any) -> bool:
    try:
        return test(actual, wanted)
    except TypeError:  # of kinds that have no order between them
        return False


def _equal(actual: Any, wanted: Any) -> bool:
    if isinstance(actual, str) and isinstance(wanted, str):
        return actual.lower() == wanted.lower() or _rank(actual) == _rank(wanted)
    return bool(actual == wanted)


def _is_found(actual: Any, wanted: Any) -> bool:
    if not isinstance(wanted, str) or len(wanted) > MAX_PATTERN_CHARS or not isinstance(actual, str):
        return False
    # Taken as plain text with .* and anchors: a pattern of a stranger's may take for ever.
    pattern = re.escape(wanted).replace(r"\.\*", ".*").replace(r"\^", "^").replace(r"\$", "$").replace(r"\.", ".")
    return re.search(pattern, actual) is not None


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": _equal,
    "$gt": lambda actual, wanted: bool(_rank(actual) > _rank(wanted)),
    "$gte": lambda actual, wanted: bool(_rank(actual) >= _rank(wanted)),
    "$lt": lambda actual, wanted: bool(_rank(actual) < _rank(wanted)),
    "$lte": lambda actual, wanted: bool(_rank(actual) <= _rank(wanted)),
    "$in": lambda actual, wanted: any(_equal(actual, each) for each in wanted),
    "$nin": lambda actual, wanted: any(_equal(actual, each) for each in wanted),
    "$regex": _is_found,
}


def _rank(value: Any) -> Any:
    """Something to compare by: instants as instants, whatever their spelling."""
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return value
    return value


def _inside(value: Any, path: str) -> Any:
    """The entry at a dotted path; a key with dots in it is found first."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    head, _, rest = path.partition(".")
    return _inside(value.get(head), rest) if rest else None
