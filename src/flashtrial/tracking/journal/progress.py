"""What became of records at one destination: a cursor and a list of dead records per (journal, destination).

Only the sync process writes here. A cursor moves after the receipt, and a dead record is listed before the cursor
passes it: a death in between makes the record be sent again, which the server tells by its sequence number.

Runs inside user processes too (`finish` reads the cursor): standard library only.
"""

import base64
import contextlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flashtrial.core.files import OWNER_ONLY_FILE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything before position `offset` of segment `segment`, up to record `seq`, is stored or on the dead list."""

    offset: int
    seq: int
    segment: int = 1


START = Cursor(0, 0)

_unwritten: set[str] = set()  # of which it was said


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A record that the destination will never take, kept whole so that it can be mended and sent again."""

    run_id: str
    writer_id: str
    seq: int
    reason: str
    time_ms: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What the sync process last said of itself: its pid, and why nothing goes through to the server (None when it
    does); `outages` has the reason for each destination that takes nothing now."""

    pid: int
    outage: str | None
    since_ms: int
    outages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DroppedRecords:
    """Records of one kind that a full outbox had no room for any more: how many, from which number to which."""

    run_id: str
    segment: int
    kind: str
    count: int
    first: int
    last: int


def read_cursor(path: Path) -> Cursor:
    """The cursor at `path`; the start where there is none, or none that can be read: sending twice does no harm."""
    match _read_json(path):
        case {"offset": int(offset), "seq": int(seq), "segment": int(segment)} if offset >= 0 <= seq and segment > 0:
            return Cursor(offset, seq, segment)
        case {"offset": int(offset), "seq": int(seq)} if offset >= 0 <= seq:  # as written before there were segments
            return Cursor(offset, seq)
    return START


def write_cursor(path: Path, cursor: Cursor) -> None:
    """Put the cursor at `path`, old or new at any moment for readers and for the death of this process."""
    _replace(path, {"offset": cursor.offset, "seq": cursor.seq, "segment": cursor.segment})


def write_cursor_if_possible(path: Path, cursor: Cursor) -> None:
    """`write_cursor`, or a warning: sending goes on where a disk is full, since that is what empties it.

    After a death the records behind an old cursor are sent again, which does no harm.
    """
    try:
        write_cursor(path, cursor)
    except OSError as error:
        _say_not_written(path, error)


def read_status(outbox: Path) -> SyncStatus | None:
    """What the sync process of this outbox last said; None when none ever spoke."""
    fields = _read_json(_status_path(outbox))
    match fields:
        case {"pid": int(pid), "outage": str() | None as outage, "since_ms": int(since_ms)}:
            return SyncStatus(pid, outage, since_ms, _outages(fields))
    return None


def write_status_if_possible(outbox: Path, status: SyncStatus) -> None:
    """Leave word for whoever asks, or a warning in the log."""
    path = _status_path(outbox)
    try:
        _replace(path, {**asdict(status), "outages": dict(status.outages)})
    except OSError as error:
        _say_not_written(path, error)


def _outages(fields: object) -> dict[str, str]:
    match fields:
        case {"outages": dict(outages)}:
            return {str(name): str(reason) for name, reason in outages.items()}
    return {}


def append_dead(path: Path, records: Sequence[DeadRecord]) -> None:
    """Add records to the dead list at `path`, a JSON line each, on the disk when this returns."""
    _append_lines(path, [_dead_fields(record) for record in records])


def read_dead(path: Path) -> list[DeadRecord]:
    """The dead records at `path`, each once and in order; lines that a death tore are left out."""
    found = [record for line in _lines(path) if (record := _dead_record(line))]
    return sorted({record.seq: record for record in found}.values(), key=lambda record: record.seq)


def dropped_path(outbox: Path, writer_id: str) -> Path:
    return outbox / f"{writer_id}.dropped"


def append_dropped(path: Path, report: DroppedRecords) -> None:
    """Add a line to the list at `path`. Raises OSError."""
    _append_lines(path, [asdict(report)])


def read_dropped(path: Path) -> list[DroppedRecords]:
    """What was dropped of a writer; said twice about one segment and kind, the last word counts."""
    found: dict[tuple[int, str], DroppedRecords] = {}
    for line in _lines(path):
        with contextlib.suppress(ValueError, TypeError):
            report = DroppedRecords(**json.loads(line))
            found[report.segment, report.kind] = report
    return list(found.values())


def _append_lines(path: Path, lines: Sequence[dict[str, object]]) -> None:
    """Add JSON lines to the file at `path`, on the disk when this returns."""
    # A line break in front too, so that a line torn by a death spoils only itself.
    text = "".join(f"\n{json.dumps(line)}\n" for line in lines)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY_FILE)
    with os.fdopen(descriptor, "ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _dead_fields(record: DeadRecord) -> dict[str, object]:
    return {
        "run_id": record.run_id,
        "writer_id": record.writer_id,
        "seq": record.seq,
        "reason": record.reason,
        "time_ms": record.time_ms,
        "frame": base64.b64encode(record.frame).decode("ascii"),
    }


def _dead_record(line: bytes) -> DeadRecord | None:
    try:
        fields = json.loads(line)
        return DeadRecord(**{**fields, "frame": base64.b64decode(fields["frame"])})
    except (ValueError, TypeError, KeyError):
        return None


def _say_not_written(path: Path, error: OSError) -> None:
    if str(path) not in _unwritten:
        _unwritten.add(str(path))
        logger.warning("%s cannot be written: %s", path, error.strerror, extra={"action": "progress_not_written"})


def _status_path(outbox: Path) -> Path:
    return outbox / "sync.json"


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _replace(path: Path, fields: dict[str, object]) -> None:
    """Like `core.files.write_atomically` without waiting for the disk: safe against deaths of processes only."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, OWNER_ONLY_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(fields).encode())
    beside.replace(path)
