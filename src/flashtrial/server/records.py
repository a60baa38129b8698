"""Records as the server stores them: each checked on its own, by kind, and refused on its own.

What comes out of `parse_record` can be stored without another thought: numbers fit SQLite, texts are UTF-8, and
documents are JSON bytes without NaN, nested no deeper than 64.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import orjson

from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import RunStatus

MAX_INT64 = 2**63 - 1
MAX_NAME_CHARS = 1024
MAX_DEPTH = 64

_SHA256 = re.compile(r"[0-9a-f]{64}")

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Refused(ValueError):
    """Raised when a record cannot be stored as it is; the message is the reason that its writer is told."""


class SeriesKind(StrEnum):
    """Who made the numbers of a series: the user's code, or the monitor of the machine."""

    METRIC = "metric"
    SYSTEM = "system"


class PointsRecord(NamedTuple):
    """One value for each of several series, at one step; `names` and `values` are equally many.

    A tuple, since most records are points and making one costs a third of making a frozen dataclass.
    """

    seq: int
    time_ms: int
    kind: SeriesKind
    step: int
    names: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ConsoleRecord:
    """One line that the run printed; `line` counts from the writer's first."""

    seq: int
    time_ms: int
    stream: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """A state, config or tags record: what the run's own row is folded from. `body` is JSON."""

    seq: int
    time_ms: int
    kind: RecordKind
    body: bytes


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file that the run logged: what its bytes are called and are. `position` is its place in a list of several.

    `sha256` is 64 lower-case hexadecimal digits; `meta` is a JSON map; `file_name` is for people and never a path.
    """

    seq: int
    time_ms: int
    name: str
    step: int | None
    position: int
    type: str
    sha256: str
    size_bytes: int
    mime: str
    file_name: str
    caption: str | None
    meta: bytes


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A data record, kept as it came. `body` is JSON."""

    seq: int
    time_ms: int
    kind: RecordKind
    name: str
    step: int | None
    body: bytes


StoredRecord: TypeAlias = PointsRecord | ConsoleRecord | ChangeRecord | FileRecord | DocumentRecord


def parse_record(seq: int, kind: object, time_ms: object, body: object) -> StoredRecord:
    """The record with these fields, ready to be stored. Raises `Refused` with the reason."""
    time_ms = whole(time_ms, "time_ms", at_least=0)
    if not isinstance(body, dict):
        raise Refused("body is not a map")
    parse = _PARSERS.get(kind) if isinstance(kind, str) else None
    if parse is None:
        raise Refused(f"unknown kind {kind!r:.40}")
    return parse(seq, time_ms, body)


def whole(value: object, what: str, *, at_least: int = -MAX_INT64 - 1) -> int:
    """`value` as an integer that SQLite can hold. Raises `Refused`; true and false are no integers."""
    if type(value) is not int:
        raise Refused(f"{what} is not an integer")
    if not at_least <= value <= MAX_INT64:
        raise Refused(f"{what} is not between {at_least} and {MAX_INT64}")
    return value


def text(value: object, what: str) -> str:
    """`value` as a text of 1 to 1024 characters. Raises `Refused`."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise Refused(f"{what} is not a text of 1 to {MAX_NAME_CHARS} characters")
    return value


def identifier(value: object, what: str) -> str:
    """The id of a run or a writer. Raises `Refused`; SQLite's JSON functions end a text at its first NUL."""
    found = text(value, what)
    if "\0" in found:
        raise Refused(f"{what} has a NUL in it")
    return found


def _points(kind: SeriesKind, seq: int, time_ms: int, body: dict[Any, Any]) -> PointsRecord:
    values = _map(body.get("values"), "values")
    step = body.get("step")
    # Without a step of its own a record stands at its sequence number: ascending, and the same however it arrives.
    step = seq if step is None else whole(step, "step")
    numbers = tuple(values.values())
    if not _FLOAT_ONLY.issuperset(map(type, numbers)):
        numbers = tuple([_number(name, value) for name, value in values.items()])
    return PointsRecord(seq, time_ms, kind, step, _names(tuple(values)), numbers)


_FLOAT_ONLY = frozenset({float})


@functools.lru_cache(maxsize=256)  # a training loop logs the same few names again and again
def _names(names: tuple[object, ...]) -> tuple[str, ...]:
    return tuple([_name(name) for name in names])


def _name(name: object) -> str:
    if isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS:
        return name
    raise Refused(f"a metric's name is a text of 1 to {MAX_NAME_CHARS} characters")


def _number(name: str, value: object) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            raise Refused(f"the value of {name!r:.60} is too large") from None
    if isinstance(value, str) and value in NOT_FINITE:  # for clients whose JSON cannot say it otherwise
        return NOT_FINITE[value]
    raise Refused(f"the value of {name!r:.60} is not a number")


def _console(seq: int, time_ms: int, body: dict[Any, Any]) -> ConsoleRecord:
    match body:
        case {"stream": "stdout" | "stderr" as stream, "text": str(line_text)}:
            line = whole(body.get("line", seq), "line")
            return ConsoleRecord(seq, time_ms, stream, line, line_text)
    raise Refused('a console body is {"stream": "stdout" | "stderr", "line": int, "text": str}')


def _change(kind: RecordKind, seq: int, time_ms: int, body: dict[Any, Any]) -> ChangeRecord:
    kept: dict[str, object]
    match kind:
        case RecordKind.CONFIG:
            kept = {"set": _map(body.get("set"), "set")}
        case RecordKind.TAGS:
            kept = _tag_change(body)
        case _:
            kept = _state(body)
    return ChangeRecord(seq, time_ms, kind, _json(kept))


def _state(body: dict[Any, Any]) -> dict[str, object]:
    if body.get("status") not in tuple(RunStatus):
        raise Refused(f"status is not one of {', '.join(RunStatus)}")
    kept: dict[str, object] = {"status": body["status"]}
    for field in ("project", "name", "host"):
        if body.get(field) is not None:
            kept[field] = text(body[field], field)
    if body.get("guest") is not None:
        kept["guest"] = _flag(body["guest"], "guest")
    if body.get("reason") is not None:
        kept["reason"] = _reason(body["reason"])
    if body.get("tags") is not None:
        kept["tags"] = _tags(body["tags"])
    if body.get("config") is not None:
        kept["config"] = _map(body["config"], "config")
    if body.get("resumed") is not None:
        kept["resumed"] = _flag(body["resumed"], "resumed")
    if body.get("fork") is not None:
        kept["fork"] = _fork(_map(body["fork"], "fork"))
    return kept


def _fork(fork: dict[Any, Any]) -> dict[str, object]:
    """Which run it starts from, after which step (none: after its last), and what it takes along."""
    step = fork.get("step")
    return {
        "run_id": text(fork.get("run_id"), "fork.run_id"),
        "step": None if step is None else whole(step, "fork.step"),
        "inherit_config": _flag(fork.get("inherit_config", False), "fork.inherit_config"),
        "inherit_tags": _flag(fork.get("inherit_tags", False), "fork.inherit_tags"),
    }


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{what} is not true or false")
    return value


def _reason(value: object) -> str:
    if not isinstance(value, str):
        raise Refused("reason is not a text")
    return value


def _document(kind: RecordKind, seq: int, time_ms: int, body: dict[Any, Any]) -> DocumentRecord:
    step = body.get("step")
    name = text(body.get("name"), "name")
    return DocumentRecord(seq, time_ms, kind, name, None if step is None else whole(step, "step"), _json(body))


def _file(seq: int, time_ms: int, body: dict[Any, Any]) -> FileRecord:
    sha256 = body.get("sha256")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise Refused("sha256 is not 64 lower-case hexadecimal digits")
    step = body.get("step")
    return FileRecord(
        seq,
        time_ms,
        name=text(body.get("name"), "name"),
        step=None if step is None else whole(step, "step"),
        position=whole(body.get("index", 0), "index", at_least=0),
        type=text(body.get("type"), "type"),
        sha256=sha256,
        size_bytes=whole(body.get("size"), "size", at_least=0),
        mime=text(body.get("mime", "application/octet-stream"), "mime"),
        file_name=text(body.get("file_name", "file"), "file_name"),
        caption=_caption(body.get("caption")),
        meta=_json(_map(body.get("meta", {}), "meta")),
    )


def _caption(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise Refused("caption is not a text")


def _tag_change(body: dict[Any, Any]) -> dict[str, object]:
    """What is added and removed, or else the whole array."""
    changes: dict[str, object] = {what: _tags(body[what], what) for what in ("add", "remove") if what in body}
    return changes or {"tags": _tags(body.get("tags"))}


def _tags(value: object, what: str = "tags") -> list[str]:
    if not isinstance(value, list):
        raise Refused(f"{what} is not a list of texts")
    return list(dict.fromkeys(text(tag, "a tag") for tag in value))


def _map(value: object, what: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{what} is not a map")
    return value


def _json(body: Mapping[Any, Any]) -> bytes:
    return orjson.dumps(_plain(body, MAX_DEPTH))


def _plain(value: object, depth: int) -> object:
    """`value` as JSON has it: NaN and infinities become their names; integers past 64 bits become their digits."""
    if depth == 0:
        raise Refused(f"nested deeper than {MAX_DEPTH}")
    match value:
        case None | bool() | str():
            return value
        case float():
            return value if math.isfinite(value) else not_finite_name(value)
        case int():
            return value if -MAX_INT64 <= value <= MAX_INT64 else str(value)
        case dict():
            return {_key(key): _plain(item, depth - 1) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, depth - 1) for item in value]
    raise Refused(f"JSON has no {type(value).__name__}")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise Refused("a key is not a text")


def not_finite_name(value: float) -> str:
    """How answers write a float that JSON has no sign for."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


_PARSERS: dict[str, Callable[[int, int, dict[Any, Any]], StoredRecord]] = {
    RecordKind.METRIC: functools.partial(_points, SeriesKind.METRIC),
    RecordKind.SYSTEM: functools.partial(_points, SeriesKind.SYSTEM),
    RecordKind.CONSOLE: _console,
    RecordKind.STATE: functools.partial(_change, RecordKind.STATE),
    RecordKind.CONFIG: functools.partial(_change, RecordKind.CONFIG),
    RecordKind.TAGS: functools.partial(_change, RecordKind.TAGS),
    RecordKind.DATA: functools.partial(_document, RecordKind.DATA),
    RecordKind.FILE: _file,
}
