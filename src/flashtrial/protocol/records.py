"""Tracking records and their frames: the same bytes in the journal on disk and in a batch on the wire.

A record's identity is (run, writer, sequence number), made by the writer; sequence numbers of one writer are 1, 2, 3 …
without gaps. A writer is one process logging to one run, and has one journal. A journal is::

    b"FTJ1"  frame(header)  frame(record)  frame(record) …

    frame  = length: u32 little endian | crc32 of payload: u32 little endian | payload
    header = msgpack {"run_id": str, "writer_id": str, …facts about the writer}
    record = msgpack [seq: int, kind: str, time_ms: int, body: map]

A batch carries frames of records as they stand in the journal, so the sync process moves bytes and never re-encodes.
Runs inside user processes: standard library and ormsgpack only.

Bodies by kind (JSON-like maps; NaN and infinities are floats like any other):

========  =====================================================================================================
metric    ``{"step": int | None, "values": {name: float}}``
system    ``{"values": {name: float}}``
console   ``{"stream": "stdout" | "stderr", "line": int, "text": str}``
config    ``{"set": {…}}`` merged deeply over what is there
tags      ``{"tags": [str, …]}`` the whole array, replacing; with ``"add"`` or ``"remove"`` (arrays too) beside it,
          those alone count, and ``tags`` is the whole as far as its writer knows it
data      ``{"name": str, "type": str, "step": int | None, "value": …}`` string series and the like; of type
          ``alert``: name ``alert``, value ``{"title": str, "text": str, "level": "INFO" | "WARN" | "ERROR", "url"?}``
file      ``{"name": str, "type": str, "step": int | None, "index"?: int, "sha256": str, "size": int, "mime": str,
          "file_name": str, "caption"?: str, "meta"?: {…}, "staged"?: str}``; the bytes go another way (decision 013)
state     ``{"status": RunStatus, "project"?, "name"?, "config"?, "tags"?, "host"?, "reason"?, "guest"?, "resumed"?,
          "fork"?}``; the first record of a writer is the state record that opens (or joins) the run. With ``"guest":
          true`` the writer is one of several and the run not its own: of its states only ``failed`` is one of the run.
          With ``"resumed": true`` its owner goes on with a run that was opened before (the first one to open it may say
          so too, as rank 0 does of an id that its launcher made); what goes on is a new attempt. ``"fork": {"run_id":
          str, "step": int | None, "inherit_config": bool, "inherit_tags": bool}`` is in the opening of a new run only:
          it starts from that run's step (None: from its last); config and tags given beside it go over what it inherits
========  =====================================================================================================
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import ormsgpack

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

MAGIC = b"FTJ1"
FRAME_HEAD = struct.Struct("<II")
MAX_FRAME_BYTES = 16 * 1024 * 1024


class RecordKind(StrEnum):
    METRIC = "metric"
    SYSTEM = "system"
    CONSOLE = "console"
    CONFIG = "config"
    TAGS = "tags"
    DATA = "data"
    FILE = "file"
    STATE = "state"


_KINDS = frozenset(kind.value for kind in RecordKind)  # `in RecordKind` raises for strangers before Python 3.12


class DamagedFrame(ValueError):
    """Raised when bytes are not a frame: a wrong checksum, a length that cannot be, or not msgpack inside."""


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """Who wrote a journal; the first frame of the file. `facts` are told to people and decide nothing."""

    run_id: str
    writer_id: str
    facts: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Record:
    """One fact about a run, immutable from the moment its writer made it."""

    run_id: str
    writer_id: str
    seq: int
    kind: RecordKind
    time_ms: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one writer, as frames."""

    run_id: str
    writer_id: str
    frames: bytes


def frame(payload: bytes) -> bytes:
    """`payload` with its length and checksum in front."""
    return FRAME_HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def encode_header(header: JournalHeader) -> bytes:
    """The first bytes of a journal: magic and header frame."""
    fields = {"run_id": header.run_id, "writer_id": header.writer_id, "facts": dict(header.facts)}
    return MAGIC + frame(ormsgpack.packb(fields))


def encode_record(seq: int, kind: str, time_ms: int, body: Mapping[str, Any]) -> bytes:
    """The frame of one record. Raises `ormsgpack.MsgpackEncodeError` for a body that msgpack cannot hold."""
    payload = ormsgpack.packb([seq, kind, time_ms, body])
    return FRAME_HEAD.pack(len(payload), zlib.crc32(payload)) + payload  # as `frame`: each `log` comes through here


def read_frames(data: bytes | memoryview, start: int = 0) -> Iterator[tuple[bytes, int]]:
    """Each whole frame's payload from `start` on, with the position just after it.

    Ends quietly where the data ends inside a frame: a torn tail is what a killed writer leaves. Raises `DamagedFrame`
    for a whole frame whose bytes are wrong.
    """
    view = memoryview(data)
    position = start
    while position + FRAME_HEAD.size <= len(view):
        length, checksum = FRAME_HEAD.unpack_from(view, position)
        if length > MAX_FRAME_BYTES:
            raise DamagedFrame(f"frame of {length} bytes at {position}; at most {MAX_FRAME_BYTES} are written")
        end = position + FRAME_HEAD.size + length
        if end > len(view):
            return
        payload = bytes(view[position + FRAME_HEAD.size : end])
        if zlib.crc32(payload) != checksum:
            raise DamagedFrame(f"checksum of the frame at {position} does not match")
        yield payload, end
        position = end


def read_header(data: bytes | memoryview) -> tuple[JournalHeader, int]:
    """The header of a journal and the position of its first record.

    Raises `DamagedFrame` when this is no journal, or when its header is not yet (or was never) wholly written.
    """
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise DamagedFrame("no journal: the magic bytes are missing")
    for payload, end in read_frames(data, len(MAGIC)):
        fields = _unpack(payload)
        match fields:
            case {"run_id": str(run_id), "writer_id": str(writer_id), "facts": dict(facts)}:
                return JournalHeader(run_id, writer_id, facts), end
        raise DamagedFrame("the header lacks run_id, writer_id or facts")
    raise DamagedFrame("the header is incomplete")


def decode_record(run_id: str, writer_id: str, payload: bytes) -> Record:
    """The record in one frame's payload. Raises `DamagedFrame` when it is not of a record's shape."""
    match _unpack(payload):
        case [int(seq), str(kind), int(time_ms), dict(body)] if seq > 0 and kind in _KINDS:
            return Record(run_id, writer_id, seq, RecordKind(kind), time_ms, body)
        case _:
            raise DamagedFrame("a record is [seq > 0, kind, time_ms, body]")


def encode_batches(batches: list[Batch]) -> bytes:
    """The body of an ingest request: msgpack ``[{"run_id", "writer_id", "frames": bin}, …]``."""
    return ormsgpack.packb([{"run_id": b.run_id, "writer_id": b.writer_id, "frames": b.frames} for b in batches])


def decode_batches(body: bytes) -> list[Batch]:
    """The inverse of `encode_batches`. Raises `DamagedFrame` for anything else."""
    fields = _unpack(body)
    if not isinstance(fields, list):
        raise DamagedFrame("an ingest body is a list of batches")
    return [_batch(item) for item in fields]


def _batch(item: object) -> Batch:
    match item:
        case {"run_id": str(run_id), "writer_id": str(writer_id), "frames": bytes(frames)}:
            return Batch(run_id, writer_id, frames)
    raise DamagedFrame("a batch is {run_id: str, writer_id: str, frames: bytes}")


def _unpack(payload: bytes) -> object:
    try:
        return ormsgpack.unpackb(payload)
    except (ormsgpack.MsgpackDecodeError, RecursionError) as error:
        raise DamagedFrame(f"not msgpack: {error}") from error
