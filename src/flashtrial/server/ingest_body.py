"""The body of an ingest request, taken apart record by record: msgpack batches, or lines of JSON.

Pure. One bad record never rejects its neighbours: it is refused with a reason, by its sequence number where it has one.
JSON is parsed fast, and once more by the standard library where that fails, for the bare ``NaN`` and ``Infinity`` that
real clients send.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
import ormsgpack

from flashtrial.protocol.records import Batch, DamagedFrame, decode_batches, read_frames
from flashtrial.server.records import Refused, StoredRecord, identifier, parse_record, whole

MAX_REFUSED_LINES = 100


class BadBody(ValueError):
    """Raised when a request's body is not what its content type says; nothing of it was taken."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that was not stored, and why."""

    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class ParsedBatch:
    """Records of one writer that may be stored, in the order they came; `error` says where taking them ended early."""

    run_id: str
    writer_id: str
    records: tuple[StoredRecord, ...]
    refused: tuple[Refusal, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """All of one request. `refused_lines` are (number from 1, reason) of lines whose record nobody can name."""

    batches: tuple[ParsedBatch, ...]
    refused_lines: tuple[tuple[int, str], ...] = ()


def parse_msgpack(body: bytes) -> ParsedBody:
    """The batches of a msgpack body. Raises `BadBody` when it is no list of batches."""
    try:
        batches = decode_batches(body)
    except DamagedFrame as error:
        raise BadBody(str(error)) from error
    return ParsedBody(tuple(_parse_batch(batch) for batch in batches))


def parse_json(body: bytes) -> ParsedBody:
    """The records of a JSON body: one object a line, one object, or one array of objects.

    Raises `BadBody` when not a single record could be read.
    """
    items = _items(body)
    grouped: dict[tuple[str, str], _Group] = {}
    bad_lines: list[tuple[int, str]] = []
    for number, item in items:
        try:
            _sort_in(grouped, item)
        except Refused as error:
            bad_lines.append((number, str(error)))
    if bad_lines and not grouped:
        raise BadBody(f"line {bad_lines[0][0]}: {bad_lines[0][1]}")
    batches = tuple(group.batch(run_id, writer_id) for (run_id, writer_id), group in grouped.items())
    return ParsedBody(batches, tuple(bad_lines[:MAX_REFUSED_LINES]))


@dataclass(slots=True)
class _Group:
    """What was found of one writer so far."""

    records: list[StoredRecord] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def take(self, seq: int, kind: object, time_ms: object, body: object) -> None:
        try:
            self.records.append(parse_record(seq, kind, time_ms, body))
        except Refused as error:
            self.refused.append(Refusal(seq, str(error)))

    def batch(self, run_id: str, writer_id: str, error: str | None = None) -> ParsedBatch:
        return ParsedBatch(run_id, writer_id, tuple(self.records), tuple(self.refused), error)


def _parse_batch(batch: Batch) -> ParsedBatch:
    group = _Group()
    try:
        identifier(batch.run_id, "run_id")
        identifier(batch.writer_id, "writer_id")
        position = 0
        for payload, position in read_frames(batch.frames):  # noqa: B007 - wanted after the loop
            _take_frame(group, payload)
        if position != len(batch.frames):
            raise DamagedFrame(f"the batch ends inside the frame at {position}")
    except (DamagedFrame, Refused) as error:
        return group.batch(batch.run_id, batch.writer_id, str(error))
    return group.batch(batch.run_id, batch.writer_id)


def _take_frame(group: _Group, payload: bytes) -> None:
    """Raises `DamagedFrame` when the frame holds no record that could be named."""
    fields = _unpack(payload)
    seq = fields[0] if isinstance(fields, list) and fields else None
    if type(seq) is not int or not 0 < seq < 2**63:
        raise DamagedFrame("a frame without a sequence number")
    if len(fields) == 4:
        group.take(*fields)
    else:
        group.refused.append(Refusal(seq, "a record is [seq, kind, time_ms, body]"))


def _unpack(payload: bytes) -> Any:
    try:
        return ormsgpack.unpackb(payload)
    except ormsgpack.MsgpackDecodeError as error:
        seq = _leading_integer(payload)
        if seq is None:
            raise DamagedFrame(f"not msgpack: {error}") from error
        return [seq]  # the record can be named, so only it is refused


_INTEGER_BYTES = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}


def _leading_integer(payload: bytes) -> int | None:
    """The first element of a msgpack array of four, when it is an unsigned integer."""
    if len(payload) < 2 or payload[0] != 0x94:
        return None
    if payload[1] < 0x80:
        return payload[1]
    size = _INTEGER_BYTES.get(payload[1], 0)
    return int.from_bytes(payload[2 : 1 + size]) if 0 < size < len(payload) else None


def _sort_in(grouped: dict[tuple[str, str], _Group], item: object) -> None:
    """Raises `Refused` when the item names no run, writer and sequence number."""
    if isinstance(item, Refused):
        raise item
    if not isinstance(item, dict):
        raise Refused("not an object")
    key = identifier(item.get("run_id"), "run_id"), identifier(item.get("writer_id"), "writer_id")
    seq = whole(item.get("seq"), "seq", at_least=1)
    grouped.setdefault(key, _Group()).take(seq, item.get("kind"), item.get("time_ms"), item.get("body"))


def _items(body: bytes) -> Iterable[tuple[int, object]]:
    """The records of a JSON body with their numbers from 1; a `Refused` stands for what could not be read."""
    stripped = body.strip()
    if stripped.startswith(b"["):
        found = _loads(stripped)
        if not isinstance(found, list):
            raise BadBody(f"not a JSON array: {found}")
        return enumerate(found, 1)
    if b"\n" in stripped and isinstance(whole_body := _loads_or_none(stripped), dict):
        return [(1, whole_body)]
    lines = enumerate(stripped.split(b"\n"), 1)
    return ((number, _loads(line)) for number, line in lines if line.strip())


def _loads_or_none(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _loads(line: bytes) -> object:
    """The value in `line`, or a `Refused` that says why there is none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as first:
        return _loads_tolerantly(line, first)


def _loads_tolerantly(line: bytes, first: orjson.JSONDecodeError) -> object:
    try:
        value: Any = json.loads(line, parse_int=_bounded_int, parse_float=_bounded_float)
        orjson.dumps(value)  # finds lone surrogates and nesting that nothing behind us could write again
    except (ValueError, RecursionError, TypeError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Refused(f"not JSON: {reason or first}")
    return value


def _bounded_int(digits: str) -> int | float:
    return int(digits) if len(digits) < 19 else _bounded_float(digits)


def _bounded_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value
