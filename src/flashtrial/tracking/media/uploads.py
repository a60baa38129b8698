"""Which destinations get a journal's files, which files still wait, and when their staged bytes may go.

Files go to flashtrial's own server as a destination of their own, `FILES`, beside the records: its courier reads the
same journals, passes every record that names no file, and for the others brings the bytes. So a large upload holds up
no record, and cursor, waiting, refusals and clean-up are those of any destination. Standard library and ormsgpack only.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from flashtrial.protocol.records import DamagedFrame, JournalHeader, Record, RecordKind, decode_record, read_frames
from flashtrial.tracking.journal.outbox import cursor_path
from flashtrial.tracking.journal.progress import read_cursor
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.journal.routes import NATIVE, Destination, FindDestinations
from flashtrial.tracking.journal.segments import list_segments, segment_path
from flashtrial.tracking.media.staging import files_dir, release, staged_path

FILES: Final = "files"
_MARK: Final = b"\xa4file"  # how msgpack writes the kind of a file record
_READ_BYTES = 1 << 20


class WithFiles:
    """The destinations of journals, with that of their files where some were staged. Belongs to a sync process.

    Once files were seen they count for good: whoever asked before is asked again (`have_appeared`).
    """

    def __init__(self, find: FindDestinations, outbox: Path) -> None:
        self._find = find
        self._folder = files_dir(outbox)
        self._has_files = False

    def have_appeared(self) -> bool:
        """Whether this is the first look that finds staged files."""
        if self._has_files:
            return False
        self._has_files = self._folder.is_dir()
        return self._has_files

    def __call__(self, header: JournalHeader, is_alive: bool) -> frozenset[Destination]:
        found = self._find(header, is_alive)
        if not (self._has_files or self._folder.is_dir()):
            return found
        return found | {replace(each, name=FILES) for each in found if each.name == NATIVE}


def file_records(run_id: str, writer_id: str, frames: bytes) -> Iterator[Record]:
    """The file records among `frames`. Raises `DamagedFrame`."""
    if _MARK not in frames:  # what nearly always is so, told in a hundredth of the time
        return
    for payload, _ in read_frames(frames):
        if _MARK in payload:
            record = decode_record(run_id, writer_id, payload)
            if record.kind is RecordKind.FILE:
                yield record


def pending_files(outbox: Path, writer_id: str) -> int:
    """How many files of a writer are not at the server yet, as far as that can be read.

    The cursor passes many files at once; of those that have arrived meanwhile the staged bytes are gone already, unless
    another destination waits for them.
    """
    paths = (staged_path(outbox, record.body) for record in unsettled_files(outbox, writer_id))
    return sum(path is None or path.exists() for path in paths)


def unsettled_files(outbox: Path, writer_id: str) -> list[Record]:
    """The file records of a writer that the cursor has not passed, as far as they can be read."""
    found: list[Record] = []
    if files_dir(outbox).is_dir():
        cursor = read_cursor(cursor_path(outbox, writer_id, FILES))
        with contextlib.suppress(OSError, DamagedFrame):
            for number in list_segments(outbox).get(writer_id, []):
                if number >= cursor.segment:
                    offset = cursor.offset if number == cursor.segment else 0
                    found += _files_in(segment_path(outbox, writer_id, number), offset)
    return found


def release_files(segment: Path) -> None:
    """Let go of the staged bytes that a segment names, which every destination of its records has."""
    if files_dir(segment.parent).is_dir():
        with contextlib.suppress(OSError, DamagedFrame):
            for record in _files_in(segment, 0):
                if (path := staged_path(segment.parent, record.body)) is not None:
                    release(path)


def _files_in(path: Path, offset: int) -> Iterator[Record]:
    reader = JournalReader.open(path)
    while (stretch := reader.read(offset, _READ_BYTES)) is not None:
        yield from file_records(reader.header.run_id, reader.header.writer_id, stretch.data)
        offset = stretch.marks[-1].end


@dataclass(frozen=True, slots=True)
class _Delivered:
    writer_id: str
    seq: int
    path: Path


class Releases:
    """Lets go of staged bytes as soon as every destination of their record has it. Belongs to one thread."""

    def __init__(self, outbox: Path, find: FindDestinations) -> None:
        self._outbox = outbox
        self._find = find
        self._others: dict[str, frozenset[str]] = {}  # by writer
        self._waiting: list[_Delivered] = []

    def add(self, record: Record, path: Path) -> None:
        """Our own server has the bytes at `path`, which `record` names."""
        self._waiting.append(_Delivered(record.writer_id, record.seq, path))

    def look(self) -> None:
        """Release what nobody waits for any more."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if self._is_wanted(each):
                self._waiting.append(each)
            else:
                release(each.path)

    def _is_wanted(self, each: _Delivered) -> bool:
        others = self._destinations(each.writer_id)
        return any(read_cursor(cursor_path(self._outbox, each.writer_id, name)).seq < each.seq for name in others)

    def _destinations(self, writer_id: str) -> frozenset[str]:
        """Whom else the writer's records go to; nobody any more when its journal is gone."""
        numbers = list_segments(self._outbox).get(writer_id)
        if not numbers:
            return frozenset()
        if writer_id not in self._others:
            try:
                header = JournalReader.open(segment_path(self._outbox, writer_id, numbers[0])).header
            except (OSError, DamagedFrame):
                return frozenset()
            self._others[writer_id] = frozenset(each.name for each in self._find(header, True)) - {NATIVE, FILES}
        return self._others[writer_id]
