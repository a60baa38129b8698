"""JSON as Python clients write and read it: with bare ``NaN`` and ``Infinity``. Nesting and sizes have bounds."""

import json
from collections.abc import Iterator
from typing import Any

import orjson


class BadJson(ValueError):
    """Raised when bytes are not JSON, or nothing that could be stored; the message says why."""


def loads(body: bytes | str) -> Any:
    """The value in `body`. Raises `BadJson`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _loads_tolerantly(body)


def loads_map(body: bytes | str | None) -> dict[str, Any]:
    """The map in `body`; an empty one for no body. Raises `BadJson` for anything else."""
    value = loads(body) if body else {}
    if not isinstance(value, dict):
        raise BadJson("not an object")
    return value


def lines(body: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a body with one a line. Raises `BadJson` with the line's number."""
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            try:
                yield loads_map(line)
            except BadJson as error:
                raise BadJson(f"line {number}: {error}") from error


def dumps(value: object) -> bytes:
    """`value` as JSON, NaN and infinities bare."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _loads_tolerantly(body: bytes | str) -> Any:
    try:
        value = json.loads(body)
        orjson.dumps(value)  # finds lone surrogates, and nesting and integers that nothing behind us could write
    except (ValueError, RecursionError, TypeError) as error:
        raise BadJson("nested too deeply" if isinstance(error, RecursionError) else str(error)) from error
    return value
