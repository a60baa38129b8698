"""What users log, made into what records hold, without importing numpy or torch.

Numbers stay what they are: NaN and infinities are values like others, and integers keep every digit that 64 bits hold.
Scalars of numpy and torch are taken by their ``item()``. Nothing is dropped: what has no place is a TypeError.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, SupportsFloat, TypeAlias, runtime_checkable

from flashtrial.protocol.records import JsonValue

logger = logging.getLogger(__name__)

Number: TypeAlias = int | float

MAX_DEPTH = 64
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_ONLY_FLOATS = frozenset({float})
_said: set[str] = set()


@runtime_checkable
class _Scalar(Protocol):
    """What numpy's and torch's scalars and arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def item(self) -> Any: ...

    def tolist(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Datum:
    """A value that is no number: one entry of a string series, or a list. `type` is ``string`` or ``list``."""

    name: str
    type: str
    value: JsonValue


class Logged(NamedTuple):
    """One call's values: numbers by name, and the rest. A tuple, since one is made at each call."""

    numbers: Mapping[str, Number]
    data: tuple[Datum, ...] = ()


def parse_logged(values: Mapping[str, Any]) -> Logged:
    """The numbers and other data in `values`, nested maps flattened with ``/``.

    `values` itself is in the answer when it holds floats only. Raises `TypeError` naming key and type for a value that
    cannot be logged, and `ValueError` when two values have one name.
    """
    if _ONLY_FLOATS.issuperset(map(type, values.values())):
        return Logged(values)
    numbers: dict[str, Number] = {}
    data: dict[str, Datum] = {}
    _collect(values, "", MAX_DEPTH, numbers, data)
    return Logged(numbers, tuple(data.values()))


def plain(value: object, depth: int = MAX_DEPTH) -> JsonValue:
    """`value` as a record's body may hold it: for configurations, where anything goes.

    Maps and sequences are copied, scalars taken by ``item()``, and what is left is its ``str()``.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number("config", value)
    return _plain_container(value, depth - 1) if depth else text(str(value))


def _plain_container(value: object, depth: int) -> JsonValue:
    match value:
        case Mapping():
            return {text(str(key)): plain(item, depth) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item, depth) for item in value]
        case _Scalar():
            return plain(value.item() if _is_single(value) else value.tolist(), depth)
    return text(str(value))


def text(value: str) -> str:
    """`value` in characters that UTF-8 has: a lone surrogate becomes its escape, visible."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _collect(
    values: Mapping[Any, Any], prefix: str, depth: int, numbers: dict[str, Number], data: dict[str, Datum]
) -> None:
    """Put what is in `values` into `numbers` and `data`, by its full name."""
    if depth == 0:
        raise ValueError(f"{prefix[:60]!r}… is nested deeper than {MAX_DEPTH}")
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name in numbers or name in data:
            raise ValueError(f"two values are named {name!r}")
        if type(value) is float:  # what nearly all values are
            numbers[name] = value
        elif isinstance(value, Mapping):
            _collect(value, f"{name}/", depth - 1, numbers, data)
        elif isinstance(parsed := _parse(name, value), Datum):
            data[name] = parsed
        else:
            numbers[name] = parsed


def _parse(name: str, value: Any) -> Number | Datum:
    match value:
        case bool() | int() | float():
            return _number(name, value)
        case str():
            return Datum(name, "string", text(value))
        case list() | tuple():
            return Datum(name, "list", [_element(name, item) for item in value])
        case _Scalar():
            return _parse_scalar(name, value)
        case SupportsFloat():
            return float(value)
    kind = type(value)
    raise TypeError(
        f"{name!r} is a {kind.__module__}.{kind.__qualname__}, which cannot be logged: "
        "log numbers, strings, or lists and dicts of them"
    )


def _parse_scalar(name: str, value: _Scalar) -> Number | Datum:
    if not _is_single(value):
        return _parse(name, value.tolist())
    item: object = value.item()
    if isinstance(item, _Scalar):  # numpy's long double answers with itself
        return float(item)  # type: ignore[arg-type]
    return _parse(name, item)


def _element(name: str, value: Any) -> JsonValue:
    """One value of a list. Raises `TypeError` as `_parse` does."""
    if isinstance(value, Mapping):
        return {text(str(key)): _element(f"{name}/{key}", item) for key, item in value.items()}
    parsed = _parse(name, value)
    return parsed.value if isinstance(parsed, Datum) else parsed


def _is_single(value: _Scalar) -> bool:
    return math.prod(value.shape) == 1


def _number(name: str, value: Number) -> Number:
    if not isinstance(value, int):
        return float(value)
    if _INT64_MIN <= value <= _INT64_MAX:
        return int(value)
    _say_once(name)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _say_once(name: str) -> None:
    if name not in _said:
        _said.add(name)
        logger.warning(
            "%r has an integer beyond 64 bits; such integers are logged as floats",
            name,
            extra={"action": "int_as_float"},
        )
