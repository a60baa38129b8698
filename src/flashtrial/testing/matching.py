"""Is an answer what was expected? Expectations name what matters and leave out the rest."""

import re
from typing import Any


def differences(expected: Any, actual: Any, where: str = "answer") -> list[str]:
    """Why `actual` is not what `expected` asks for, a line each; empty when it is.

    An object matches when each of its keys matches (further keys are welcome), a list when it has the same length and
    each item matches, ``{"$regex": pattern}`` when the pattern is found in the string (``re.search``, dot matches
    newline), everything else when equal, booleans and numbers kept apart.
    """
    match expected:
        case {"$regex": str(pattern)} if len(expected) == 1:
            return _by_pattern(pattern, actual, where)
        case dict():
            return _by_keys(expected, actual, where)
        case list():
            return _by_items(expected, actual, where)
        case _:
            same = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
            return [] if same else [f"{where}: expected {expected!r}, got {actual!r}"]


def _by_pattern(pattern: str, actual: Any, where: str) -> list[str]:
    found = isinstance(actual, str) and re.search(pattern, actual, re.DOTALL)
    return [] if found else [f"{where}: expected text with {pattern!r} in it, got {actual!r}"]


def _by_keys(expected: dict[str, Any], actual: Any, where: str) -> list[str]:
    if not isinstance(actual, dict):
        return [f"{where}: expected an object, got {actual!r}"]
    missing = [f"{where}.{key}: missing" for key in expected if key not in actual]
    present = [key for key in expected if key in actual]
    return missing + [line for key in present for line in differences(expected[key], actual[key], f"{where}.{key}")]


def _by_items(expected: list[Any], actual: Any, where: str) -> list[str]:
    if not isinstance(actual, list) or len(actual) != len(expected):
        return [f"{where}: expected a list of {len(expected)}, got {actual!r}"]
    pairs = enumerate(zip(expected, actual, strict=True))
    return [line for place, (one, other) in pairs for line in differences(one, other, f"{where}[{place}]")]
