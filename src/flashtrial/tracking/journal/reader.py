"""The reading side of a journal: whole frames from a position on, and whether the writer still lives.

Nothing is kept open between two reads, so that thousands of journals of earlier lives cost no descriptors.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import ormsgpack

from flashtrial.protocol.records import (
    FRAME_HEAD,
    MAGIC,
    MAX_FRAME_BYTES,
    DamagedFrame,
    JournalHeader,
    read_frames,
    read_header,
)
from flashtrial.tracking.journal.outbox import is_locked


@dataclass(frozen=True, slots=True)
class Mark:
    """A record's sequence number, and the position in the file just after its frame."""

    seq: int
    end: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive whole frames of one journal: `data` begins at position `start` of the file. Never empty."""

    start: int
    data: bytes
    marks: tuple[Mark, ...]

    def first(self, count: int) -> "Stretch":
        """The first `count` frames, at most all of them."""
        marks = self.marks[:count]
        return Stretch(self.start, self.data[: marks[-1].end - self.start], marks)

    def frame_of(self, seq: int) -> bytes | None:
        """The frame of record `seq`; None when it is not in here."""
        starts = (self.start, *(mark.end for mark in self.marks))
        for (start, end), mark in zip(pairwise(starts), self.marks, strict=True):
            if mark.seq == seq:
                return self.data[start - self.start : end - self.start]
        return None


class JournalReader:
    """One journal file, read from another process than its writer's."""

    def __init__(self, path: Path, header: JournalHeader, first_frame: int) -> None:
        self.path = path
        self.header = header
        self.first_frame = first_frame

    @classmethod
    def open(cls, path: Path) -> "JournalReader":
        """The reader of the journal at `path`. Raises `DamagedFrame` when it has no whole header, and OSError."""
        with path.open("rb") as file:
            head = file.read(len(MAGIC) + FRAME_HEAD.size)
            length = FRAME_HEAD.unpack_from(head, len(MAGIC))[0] if len(head) == len(MAGIC) + FRAME_HEAD.size else 0
            header, first_frame = read_header(head + file.read(min(length, MAX_FRAME_BYTES)))
        return cls(path, header, first_frame)

    def size_bytes(self) -> int:
        """The file's size now. Raises OSError when it is gone."""
        return self.path.stat().st_size

    def read(self, offset: int, max_bytes: int) -> Stretch | None:
        """Whole frames from `offset` on, about `max_bytes` of them and at least one; None when there is none yet.

        A torn tail is not there yet. Raises `DamagedFrame` when what stands at `offset` is no record, and OSError.
        """
        start = max(offset, self.first_frame)
        with self.path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), max(max_bytes, FRAME_HEAD.size), start)
            missing = _frame_bytes(data) - len(data)
            if missing > 0:
                data += os.pread(file.fileno(), missing, start + len(data))
        marks = tuple(_marks(data, start))
        return Stretch(start, data[: marks[-1].end - start], marks) if marks else None

    def writer_is_alive(self) -> bool:
        """Whether a process still holds the journal open for writing. False also when the file is gone."""
        return is_locked(self.path, shared=True)


def _frame_bytes(data: bytes) -> int:
    """The size of the frame that `data` begins with, as far as that can be told and is possible."""
    if len(data) < FRAME_HEAD.size:
        return 0
    length: int = FRAME_HEAD.unpack_from(data)[0]
    return FRAME_HEAD.size + length if length <= MAX_FRAME_BYTES else 0


def _marks(data: bytes, start: int) -> Iterator[Mark]:
    """A mark for each record before the first damage. Raises `DamagedFrame` when damage is all there is."""
    frames = read_frames(data)
    position = 0
    while True:
        try:
            payload, end = next(frames)
            yield Mark(_seq_of(payload), start + end)
        except StopIteration:
            return
        except DamagedFrame:
            if position == 0:
                raise
            return
        position = end


def _seq_of(payload: bytes) -> int:
    """A frame of zeros has a right checksum, so a look inside is needed."""
    try:
        match ormsgpack.unpackb(payload):
            case [int(seq), *_] if seq > 0:
                return seq
    except ormsgpack.MsgpackDecodeError as error:
        raise DamagedFrame(f"not msgpack: {error}") from error
    raise DamagedFrame("no record")
