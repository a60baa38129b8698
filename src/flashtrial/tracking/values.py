"""What users log, made into what records hold, without importing numpy or torch.

Numbers stay what they are: NaN and infinities are values like others, and integers keep every digit that 64 bits hold.
Scalars of numpy and torch are taken by their ``item()``. Nothing is dropped: what has no place is a TypeError.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, SupportsFloat, TypeAlias, cast, runtime_checkable

from flashtrial.protocol.records import JsonValue, RecordKind

logger = logging.getLogger(__name__)

Number: TypeAlias = int | float

MAX_NAME_CHARS = 1024  # what the server takes
MAX_DEPTH = 60  # the server takes 64 levels, of which a record's own maps are some
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_WRAPPERS = {"PIL": "Image", "matplotlib": "Image", "pandas": "Table", "polars": "Table"}
_ONLY_FLOATS = frozenset({float})
_MOST_REMEMBERED = 1 << 16

# What was found out once, since finding out costs more than all the rest of a call: names that are right, and for each
# type of value what makes a record's value of it. Both start anew when they have grown large.
_names: set[str] = set()
_takers: "dict[type, _Taker]" = {}
_said: set[str] = set()


@runtime_checkable
class _Scalar(Protocol):
    """What numpy's and torch's scalars and arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def item(self) -> Any: ...

    def tolist(self) -> Any: ...


@runtime_checkable
class _Namespace(Protocol):
    """What argparse parses into, known without an import of it."""

    def _get_kwargs(self) -> list[tuple[str, Any]]: ...


@runtime_checkable
class _Model(Protocol):
    """What pydantic's models have in common."""

    def model_dump_json(self) -> str: ...


@runtime_checkable
class Loggable(Protocol):
    """A value that makes its own record: an image, a table. `docs/decisions/011` says how one is logged."""

    def stage_record(self, outbox: Path) -> tuple[RecordKind, Mapping[str, JsonValue]]:
        """Kind and body of the record, whose bytes, where it has any, lie beside `outbox` when this returns.

        Called in the caller's thread before the run is locked; ``name`` and ``step`` (and ``index``, in a list) are
        put into the body afterwards. Raises `OutboxUnwritable` where the disk does not take the bytes, which costs
        this value only.
        """
        ...


@dataclass(frozen=True, slots=True)
class Datum:
    """A value that is no number: one entry of a string series, or a list. `type` is ``string`` or ``list``."""

    name: str
    type: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Exhibits:
    """Values that make their own records: one, or those of a list (`is_list`), which are told apart by ``index``."""

    name: str
    values: tuple[Loggable, ...]
    is_list: bool = False


Other: TypeAlias = Datum | Exhibits
_Taker: TypeAlias = "Callable[[str, Any, int], Number | Other]"  # of name, value, and how deep it may nest


def parse_logged(  # noqa: C901 - one pass: a call of a function for each value would double the cost
    values: Mapping[str, Any],
) -> tuple[Mapping[str, Number], tuple[Other, ...]]:
    """The numbers by name, and the other data, in `values`; nested maps are flattened with ``/``.

    `values` itself is in the answer when it holds floats only. Raises `TypeError` naming key and type for a value that
    cannot be logged, and `ValueError` for a name that is empty or too long, or that two values have.
    """
    # Every call comes through here: the usual one, of floats under names seen before, is told by two set operations.
    try:
        each = values.values()
    except (AttributeError, TypeError):
        raise TypeError(f"log takes a dict of names and values, not a {type(values).__qualname__}") from None
    if _ONLY_FLOATS.issuperset(map(type, each)) and (_names.issuperset(values) or _are_names(values)):
        return values, ()
    numbers: dict[str, Number] = dict(values)
    data: dict[str, Other] = {}
    for name, value in values.items():
        kind = type(value)
        if kind is float:
            continue
        if type(name) is not str:
            return _parse_anew(values)
        taker = _takers.get(kind) or _learn_taker(name, value)
        if taker is _take_as_float:
            numbers[name] = float(value)
        elif taker is _no_taker:
            del numbers[name]
            _collect(value, f"{name}/", MAX_DEPTH - 1, numbers, data)
        elif kind is not int or not _INT64_MIN <= value <= _INT64_MAX:
            del numbers[name]
            _put(name, value, MAX_DEPTH, numbers, data)
    if not (_names.issuperset(numbers) or _are_names(numbers)):
        return _parse_anew(values)
    if data:
        _are_names(data)
        return numbers, tuple(data.values())
    return numbers, ()


def _parse_anew(values: Mapping[Any, Any]) -> tuple[Mapping[str, Number], tuple[Other, ...]]:
    """The same for maps with keys that are no texts, by the names that they have as texts."""
    numbers: dict[str, Number] = {}
    data: dict[str, Other] = {}
    _collect(values, "", MAX_DEPTH, numbers, data)
    _are_names(numbers)
    _are_names(data)
    return numbers, tuple(data.values())


def plain(value: object, depth: int = MAX_DEPTH) -> JsonValue:
    """`value` as a record's body may hold it: for configurations, where anything goes.

    Maps and sequences are copied, dataclasses and the like become maps, scalars are taken by ``item()``, and what is
    left is its ``str()``.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number("config", value)
    return _plain_container(value, depth - 1) if depth else text(str(value))


def _plain_container(value: object, depth: int) -> JsonValue:
    match value:
        case Mapping():
            return {text(_key(key)): plain(item, depth) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item, depth) for item in value]
        case _Scalar():
            return plain(value.item() if math.prod(value.shape) == 1 else value.tolist(), depth)
        case str() | bytes() | bytearray() | memoryview() | range() | type():
            return text(str(value))
        case Sequence():  # a configuration library's own kind of list
            return [plain(item, depth) for item in value]
    return text(str(value)) if (fields := _fields_of(value)) is None else _plain_container(fields, depth)


def _fields_of(value: object) -> Mapping[str, Any] | None:
    """What an object of named values holds: a dataclass, argparse's and other namespaces, pydantic's models."""
    match value:
        case object(__dataclass_fields__=dict(names)):
            return {name: getattr(value, name) for name in names if hasattr(value, name)}
        case SimpleNamespace() | _Namespace() | _Model():
            return vars(value)
    return None


def text(value: str) -> str:
    """`value` in characters that UTF-8 has: a lone surrogate becomes its escape, visible."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _are_names(names: Iterable[object]) -> bool:
    """Whether all of `names` are texts. Raises `ValueError` for a text that the server would refuse as a name."""
    for name in names:
        if type(name) is not str:
            return False
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise ValueError(f"a metric's name has 1 to {MAX_NAME_CHARS} characters, not {len(name)}: {name[:60]!r}")
    if len(_names) > _MOST_REMEMBERED:
        _names.clear()
    _names.update(cast("Iterable[str]", names))
    return True


def _collect(
    values: Mapping[Any, Any], prefix: str, depth: int, numbers: dict[str, Number], data: dict[str, Other]
) -> None:
    """Put what is in `values` into `numbers` and `data`, by its full name."""
    if depth == 0:
        raise _too_deep(prefix)
    for key, value in values.items():
        name = f"{prefix}{key}" if type(key) is str else f"{prefix}{_key(key)}"
        kind = type(value)
        is_plain = kind is float or (kind is int and _INT64_MIN <= value <= _INT64_MAX)  # what nearly all values are
        if is_plain and name not in numbers and name not in data:
            numbers[name] = value
        else:
            _put(name, value, depth, numbers, data)


def _put(name: str, value: Any, depth: int, numbers: dict[str, Number], data: dict[str, Other]) -> None:
    taker = _takers.get(type(value)) or _learn_taker(name, value)
    if taker is _no_taker:
        _collect(value, f"{name}/", depth - 1, numbers, data)
        return
    if name in numbers or name in data:
        raise ValueError(f"two values are named {name!r}")
    parsed = taker(name, value, depth)
    if isinstance(parsed, int | float):
        numbers[name] = parsed
    else:
        data[name] = parsed


def _parse(name: str, value: Any, depth: int) -> Number | Other:
    return (_takers.get(type(value)) or _learn_taker(name, value))(name, value, depth)


def _learn_taker(name: str, value: object) -> _Taker:
    taker = _taker_for(name, value)
    if len(_takers) > _MOST_REMEMBERED:
        _takers.clear()
    _takers[type(value)] = taker
    return taker


def _taker_for(name: str, value: object) -> _Taker:  # noqa: PLR0911 - one a kind of value
    """What takes values of this value's type. Raises `TypeError` when nothing does."""
    match value:
        case Mapping():
            return _no_taker
        case bool() | int() | float():
            return _take_number
        case str():
            return _take_text
        case Loggable():
            return _take_exhibit
        case list() | tuple():
            return _take_list
        case _Scalar():
            return _take_as_float if _is_numpy_floating(type(value)) else _take_scalar
        case SupportsFloat():
            return _take_as_float
    kind = type(value)
    raise TypeError(
        f"{name!r} is a {kind.__module__}.{kind.__qualname__}, which cannot be logged: "
        + _advice(kind.__module__.partition(".")[0])
    )


def _advice(library: str) -> str:
    wrapper = _WRAPPERS.get(library)
    if wrapper:
        return f"wrap it as flashtrial.{wrapper}(…)"
    return "log numbers, strings, images, tables and the like, or lists and dicts of them"


def _is_numpy_floating(kind: type) -> bool:
    """Whether these are numpy's floats, which `float` takes at a sixth of the cost of their ``item()``."""
    return any((base.__module__, base.__name__) == ("numpy", "floating") for base in kind.__mro__)


def _no_taker(*_: object) -> Number | Other:
    """Stands for maps, which have no value of their own: whoever meets one goes into it."""
    raise NotImplementedError


def _take_number(name: str, value: Number, _depth: int) -> Number:
    return _number(name, value)


def _take_text(name: str, value: str, _depth: int) -> Datum:
    return Datum(name, "string", text(value))


def _take_exhibit(name: str, value: Loggable, _depth: int) -> Exhibits:
    return Exhibits(name, (value,))


def _take_list(name: str, value: Sequence[Any], depth: int) -> Other:
    if value and all(_is_exhibit(item) for item in value):
        return Exhibits(name, tuple(value), is_list=True)
    return Datum(name, "list", [_element(name, item, depth - 1) for item in value])


def _take_as_float(_name: str, value: SupportsFloat, _depth: int) -> float:
    return float(value)


def _is_exhibit(value: object) -> bool:
    taker = _takers.get(type(value))
    return taker is _take_exhibit or (taker is None and isinstance(value, Loggable))


def _take_scalar(name: str, value: _Scalar, depth: int) -> Number | Other:
    if value.shape and math.prod(value.shape) != 1:
        return _parse(name, value.tolist(), depth)
    item: object = value.item()
    return item if type(item) is float else _parse(name, item, depth)


def _element(name: str, value: Any, depth: int) -> JsonValue:
    """One value of a list. Raises `TypeError` as `_parse` does."""
    if depth == 0:
        raise _too_deep(name)
    if isinstance(value, Mapping):
        return {text(_key(key)): _element(f"{name}/{key}", item, depth - 1) for key, item in value.items()}
    parsed = _parse(name, value, depth)
    if isinstance(parsed, Exhibits):
        raise TypeError(f"{name!r} has a {type(value).__name__} among other values: log it under a name of its own")
    return parsed.value if isinstance(parsed, Datum) else parsed


def _key(key: object) -> str:
    """A map's key as text; of texts with a class of their own (enumerations) the text that they are."""
    return str.__str__(key) if isinstance(key, str) else str(key)


def _too_deep(name: str) -> ValueError:
    return ValueError(f"{name[:60]!r}… is nested deeper than {MAX_DEPTH}")


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
