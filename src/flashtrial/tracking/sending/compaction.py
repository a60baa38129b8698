"""Making room in an outbox that has come near its limit: what matters least, and is oldest, is dropped first.

System samples go first, then console lines; metrics and all else are never dropped here. Only closed segments of which
no destination of records has taken anything are rewritten, never one that some cursor stands inside, and never while a
courier reads. What was dropped is listed beside the journal before it is gone (`progress.read_dropped`), so that
nothing goes silently.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ormsgpack

from flashtrial.core.files import OWNER_ONLY_FILE
from flashtrial.protocol.records import DamagedFrame, RecordKind, encode_header, read_frames
from flashtrial.tracking.journal.outbox import NEW_SUFFIX, is_locked
from flashtrial.tracking.journal.progress import DroppedRecords, append_dropped, dropped_path
from flashtrial.tracking.journal.reader import JournalReader, Stretch
from flashtrial.tracking.journal.routes import FindDestinations
from flashtrial.tracking.journal.segments import list_segments, segment_path, size_bytes
from flashtrial.tracking.sending.outbox_state import OutboxState

logger = logging.getLogger(__name__)

BEGIN_AT = 0.9
END_AT = 0.75
DROPPED_IN_TURN = (RecordKind.SYSTEM, RecordKind.CONSOLE)
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Segment:
    """A closed segment of which nobody has taken anything yet."""

    path: Path
    number: int
    mtime_ns: int


class Compaction:
    """Keeps one outbox within its limit. Used by one thread, while no courier reads.

    `find` gives the destinations of records; that of files loses nothing by what is dropped behind its cursor.
    """

    def __init__(self, state: OutboxState, find: FindDestinations) -> None:
        self._state = state
        self._find = find
        self._done: set[tuple[Path, RecordKind]] = set()

    def is_due(self, limit_bytes: int) -> bool:
        """Whether the outbox has come near `limit_bytes`."""
        return size_bytes(self._state.outbox) > BEGIN_AT * limit_bytes

    def make_room(self, limit_bytes: int) -> int:
        """Drop what may be dropped until a quarter of `limit_bytes` is free again; the bytes that were freed."""
        excess = size_bytes(self._state.outbox) - int(END_AT * limit_bytes)
        freed = 0
        for kind in DROPPED_IN_TURN:
            for segment in sorted(self._untouched(), key=lambda each: each.mtime_ns):
                if freed >= excess:
                    return freed
                freed += self._drop(segment, kind)
        return freed

    def _untouched(self) -> Iterator[_Segment]:
        for writer_id, numbers in list_segments(self._state.outbox).items():
            paths = [segment_path(self._state.outbox, writer_id, number) for number in numbers]
            with contextlib.suppress(DamagedFrame, OSError):
                is_alive = any(is_locked(path, shared=True) for path in paths)
                header = JournalReader.open(paths[0]).header
                names = {each.name for each in self._find(header, is_alive)}
                cursors = [self._state.cursor(writer_id, name) for name in names]
                begun = {each.segment for each in self._state.all_cursors(writer_id) if each.offset > 0}
                for number, path in zip(numbers[:-1] if is_alive else numbers, paths, strict=False):
                    if number not in begun and all(cursor.segment <= number for cursor in cursors):
                        yield _Segment(path, number, path.stat().st_mtime_ns)

    def _drop(self, segment: _Segment, kind: RecordKind) -> int:
        """The bytes that were freed; 0 when it cannot be done now."""
        if (segment.path, kind) in self._done:
            return 0
        self._done.add((segment.path, kind))
        try:
            return _rewrite_without(kind, segment)
        except (DamagedFrame, OSError) as error:
            logger.warning("%s could not be made smaller: %s", segment.path, error, extra={"action": "not_compacted"})
            return 0


def _rewrite_without(kind: RecordKind, segment: _Segment) -> int:
    """Replace a segment by itself less the records of `kind`; the bytes that this frees. Raises OSError."""
    reader = JournalReader.open(segment.path)
    before, dropped = reader.size_bytes(), []
    beside = segment.path.with_name(f".{segment.path.name}{NEW_SUFFIX}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, OWNER_ONLY_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode_header(reader.header))
            for stretch in _stretches(reader):
                kept, gone = _split(stretch, kind)
                file.write(kept)
                dropped += gone
        if not dropped:
            return 0
        report = DroppedRecords(reader.header.run_id, segment.number, kind.value, len(dropped), dropped[0], dropped[-1])
        append_dropped(dropped_path(segment.path.parent, reader.header.writer_id), report)
        beside.replace(segment.path)
    finally:
        beside.unlink(missing_ok=True)
    _say(report, segment.path)
    return before - reader.size_bytes()


def _say(report: DroppedRecords, path: Path) -> None:
    logger.warning(
        "the outbox is full: %d %s records dropped from %s",
        report.count,
        report.kind,
        path,
        extra={"action": "dropped"},
    )


def _stretches(reader: JournalReader) -> Iterator[Stretch]:
    offset = 0
    while (stretch := reader.read(offset, _READ_BYTES)) is not None:
        yield stretch
        offset = stretch.marks[-1].end


def _split(stretch: Stretch, kind: RecordKind) -> tuple[bytes, list[int]]:
    """The frames that stay, and the sequence numbers of those that go."""
    kept, gone = bytearray(), []
    start = 0
    for payload, end in read_frames(stretch.data):
        match ormsgpack.unpackb(payload):
            case [int(seq), str(said), *_] if said == kind:
                gone.append(seq)
            case _:
                kept += stretch.data[start:end]
        start = end
    return bytes(kept), gone
