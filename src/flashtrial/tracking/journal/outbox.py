"""The outbox: names of its files, and the writing side of a journal.

A `Journal` belongs to one writer (one process logging to one run). `append` returns when the record is in the kernel's
hands, so that no death of a process loses it. Whoever reads is another process (`flashtrial.tracking.sending.sync`).

    trainer, any thread ── append ──▶ <writer_id>.journal ──▶ sync process ──▶ server
                                       (flock LOCK_SH while the writer lives)

A journal goes on in a new segment when one has grown large (see `segments`); at every moment one of them is locked.

Runs inside user processes: standard library and ormsgpack only.
"""

import fcntl
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flashtrial.core.errors import FlashtrialError
from flashtrial.core.files import OWNER_ONLY_FILE, ensure_private_dir
from flashtrial.protocol.records import (
    FRAME_HEAD,
    MAX_FRAME_BYTES,
    JournalHeader,
    RecordKind,
    encode_header,
    encode_record,
)
from flashtrial.tracking.journal.segments import JOURNAL_SUFFIX, segment_path, size_bytes
from flashtrial.tracking.settings.limits import OutboxLimits

__all__ = ["JOURNAL_SUFFIX", "Journal", "OutboxFull", "OutboxUnwritable"]

NEW_SUFFIX = ".new"
DEFERRED = 0
MAX_RECORD_BYTES = FRAME_HEAD.size + MAX_FRAME_BYTES
LEAST_STRIDE_BYTES = 16 * 1024
FULL_LOOK_EVERY_S = 0.25


class OutboxUnwritable(FlashtrialError):
    """Raised when the disk did not take a record (full, read-only, gone); nothing of the record is in the journal."""


class OutboxFull(OutboxUnwritable):
    """Raised when the outbox has reached its limit (FLASHTRIAL_OUTBOX_BYTES) and nothing of it could be sent yet."""


class RecordTooLarge(FlashtrialError):
    """Raised when one record is larger than a frame may be; log it as a file, or in parts."""


class JournalClosed(FlashtrialError):
    """Raised when a record comes after the journal was closed."""


def journal_path(outbox: Path, writer_id: str) -> Path:
    """Its first segment."""
    return segment_path(outbox, writer_id, 1)


def cursor_path(outbox: Path, writer_id: str, destination: str) -> Path:
    return outbox / f"{writer_id}.{destination}.cursor"


def dead_path(outbox: Path, writer_id: str, destination: str) -> Path:
    return outbox / f"{writer_id}.{destination}.dead"


def lock_path(outbox: Path) -> Path:
    """What the one sync process of an outbox holds exclusively."""
    return outbox / "sync.lock"


def interest_path(outbox: Path) -> Path:
    """What those hold, shared, who want the sync process to stay even while there is no writer."""
    return outbox / "interest.lock"


def is_locked(path: Path, *, shared: bool) -> bool:
    """Whether another holds the lock on `path`, in `shared` mode or not. False when there is no such file.

    Asking takes the lock for an instant, in the mode that disturbs others of the asker's kind the least.
    """
    wanted = fcntl.LOCK_EX if shared else fcntl.LOCK_SH
    try:
        with path.open("rb") as file:
            fcntl.flock(file, wanted | fcntl.LOCK_NB)
            # Closing is not enough: a fork that another thread made just now has the file open as well.
            fcntl.flock(file, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


class Journal:
    """The one writer of one journal file.

    Threads may share it. A signal handler that interrupts `append` in its own thread may append too: its record is
    written when the interrupted call ends. After a fork only the parent may go on (see `abandon`).
    """

    def __init__(self, outbox: Path, header: JournalHeader, limits: OutboxLimits) -> None:
        self._outbox = outbox
        self._header = header
        self._limits = limits
        self._rotate_at = limits.rotate_at_bytes
        self._lock = threading.RLock()  # reentrant for signal handlers; guards everything below
        # The segment's descriptor, number and end of the last whole record, number of the segment. One value, so that
        # an interrupt never sees half of a change.
        self._tail = (-1, 0, 0, 0)
        self._header_bytes = 0
        self._look_at = 0  # the size of the segment at which the limits are looked at again
        self._must_rotate = False  # the next segment exists already, so nothing may be written to this one
        self._full_until = 0.0
        self._unsettled_bytes = 0  # size of a frame of which nobody knows yet whether it was wholly written
        self._busy = False
        self._closes_after_append = False
        self._deferred: list[tuple[str, Mapping[str, Any], int]] = []

    @classmethod
    def create(cls, outbox: Path, header: JournalHeader, limits: OutboxLimits | None = None) -> "Journal":
        """A new, empty journal in `outbox` (created where missing), locked for as long as this process lives.

        The file appears under its name only with its header whole and its lock held, so that a reader never takes a
        writer that is starting for one that died. Raises `OutboxUnwritable`.
        """
        journal = cls(outbox, header, limits or OutboxLimits())
        try:
            ensure_private_dir(outbox)
            journal._begin_segment()
        except OSError as error:
            raise OutboxUnwritable(f"cannot write to {outbox}: {error.strerror}; set FLASHTRIAL_HOME") from error
        return journal

    @property
    def path(self) -> Path:
        """The segment that is being written."""
        return segment_path(self._outbox, self._header.writer_id, max(self._tail[3], 1))

    @property
    def last_seq(self) -> int:
        """The sequence number of the last record that is wholly in the file; 0 before the first."""
        return self._tail[1]

    @property
    def is_closed(self) -> bool:
        return self._tail[0] < 0

    def append(self, kind: str, body: Mapping[str, Any], time_ms: int) -> int:
        """Write one record and return its sequence number (`DEFERRED` from within a signal handler, see the class).

        Raises `OutboxUnwritable` (`OutboxFull`), `RecordTooLarge`, `JournalClosed`, or `ormsgpack.MsgpackEncodeError`
        for a body that msgpack cannot hold; after each of them the sequence goes on without a gap.
        """
        with self._lock:
            if self._busy:
                self._deferred.append((kind, body, time_ms))
                return DEFERRED
            self._busy = True
            try:
                if self._tail[0] < 0:
                    raise JournalClosed(f"{self.path} is closed")
                if self._unsettled_bytes:
                    self._settle()
                data = encode_record(self._tail[1] + 1, kind, time_ms, body)
                length = len(data)
                if length > MAX_RECORD_BYTES:
                    raise RecordTooLarge(f"a {kind} record of {length} bytes; at most {MAX_RECORD_BYTES} fit")
                if self._tail[2] + length > self._look_at:
                    self._make_room(kind, length)
                descriptor, seq, size, number = self._tail
                # From here until the tail is moved, an exception of a signal handler may come between any two steps.
                self._unsettled_bytes = length
                written = os.write(descriptor, data)
                if written < length:
                    _write_rest(descriptor, data, written)
                self._tail = (descriptor, seq + 1, size + length, number)
                self._unsettled_bytes = 0
                return seq + 1
            except OSError as error:
                if self._unsettled_bytes:
                    self._settle()
                raise OutboxUnwritable(f"a record could not be written to {self.path}: {error.strerror}") from error
            finally:
                # Not in functions of their own: an exception of a signal handler may come at the first step of one.
                self._busy = False
                if self._deferred or self._closes_after_append:
                    self._catch_up()

    def close(self) -> None:
        """Let go of file and lock: this writer is gone. Calling twice is safe.

        From a signal handler that interrupted an `append` of its own thread, the file is closed when that one ends.
        """
        with self._lock:
            if self._busy:
                self._closes_after_append = True
            else:
                self.abandon()

    def abandon(self) -> None:
        """Close without asking for the lock, which nobody may ever release in the child of a fork.

        The parent's hold on the file is not touched: it belongs to the open file, which the parent has open still.
        """
        descriptor, *rest = self._tail
        self._tail = (-1, rest[0], rest[1], rest[2])
        if descriptor >= 0:
            os.close(descriptor)

    def revive(self) -> bool:
        """Put the segment that is being written back where somebody removed it; whether that had to be done.

        Its records are read from the open file, which lives as long as it is open; closed segments cannot be had back.
        Raises `OutboxUnwritable` when it cannot be put back.
        """
        with self._lock:
            if self._busy or self._tail[0] < 0 or not _is_missing(self.path):
                return False
            self._busy = True
            try:
                if self._unsettled_bytes:
                    self._settle()
                descriptor, seq, size, number = self._tail
                content = Path(f"/proc/self/fd/{descriptor}").read_bytes()[:size]
                ensure_private_dir(self._outbox)
                renewed, _ = _create_locked(self.path, content)
                self._tail = (renewed, seq, size, number)
                os.close(descriptor)
            except OSError as error:
                raise OutboxUnwritable(f"{self.path} could not be put back: {error.strerror}") from error
            finally:
                self._busy = False
                if self._deferred or self._closes_after_append:
                    self._catch_up()
        return True

    def _make_room(self, kind: str, length: int) -> None:
        """Go on in a new segment where this one is large enough; see to it that the outbox keeps to its limit.

        Not at each record: only after a quarter of the room that was left. Raises `OutboxFull`.
        """
        if self._must_rotate or self._tail[2] + length > self._rotate_at:
            self._rotate()
        room = self._room(length)
        if room >= length:
            stride = room // 4 if room > 4 * LEAST_STRIDE_BYTES else 0  # near the limit each record is looked at
            end = self._tail[2] + max(stride, length)
            self._look_at = max(min(end, self._rotate_at), self._tail[2] + length)
        elif kind != RecordKind.STATE:
            raise OutboxFull(f"{self._outbox} has reached {self._limits.outbox_bytes} bytes; {kind} does not fit")

    def _room(self, length: int) -> int:
        """Bytes that the outbox may still take, looked up at most every quarter second while it is full."""
        if time.monotonic() < self._full_until:
            return 0
        try:
            room = self._limits.outbox_bytes - size_bytes(self._outbox)
        except OSError:  # no reason to lose a record that may well be written
            return self._rotate_at
        if room < length:
            self._look_at = 0
            self._full_until = time.monotonic() + FULL_LOOK_EVERY_S
        return room

    def _rotate(self) -> None:
        """Go on in a new segment; where none can be made, in the old one, unless a new one exists already."""
        if self._tail[2] == self._header_bytes and not self._must_rotate:
            return  # nothing is in it; a large record goes into it
        was_begun, self._must_rotate = self._must_rotate, True
        old = self._tail[0]
        try:
            self._begin_segment()
        except OSError:
            if was_begun:
                raise
            self._must_rotate = False
            return
        self._must_rotate = False
        os.close(old)  # after the new one is locked: this writer never looks dead

    def _begin_segment(self) -> None:
        _, seq, _, number = self._tail
        path = segment_path(self._outbox, self._header.writer_id, number + 1)
        descriptor, self._header_bytes = _create_locked(path, encode_header(self._header))
        self._tail = (descriptor, seq, self._header_bytes, number + 1)

    def _settle(self) -> None:
        """Find out by the file's size what became of the last frame: keep it whole, or cut it off."""
        descriptor, seq, size, number = self._tail
        try:
            actual_bytes = os.fstat(descriptor).st_size
            if actual_bytes == size + self._unsettled_bytes:
                self._tail = (descriptor, seq + 1, actual_bytes, number)
            elif actual_bytes != size:
                os.ftruncate(descriptor, size)
        except OSError as error:  # the frame stays unsettled, so nothing is written after it
            raise OutboxUnwritable(f"{self.path} could not be mended: {error.strerror}") from error
        self._unsettled_bytes = 0

    def _catch_up(self) -> None:
        """Do what signal handlers asked for meanwhile."""
        while self._deferred:
            self.append(*self._deferred.pop(0))
        if self._closes_after_append:
            self.abandon()


def _is_missing(path: Path) -> bool:
    """False where that cannot be looked up just now (a disk of the network, rights); the open file takes records."""
    try:
        return not path.exists()
    except OSError:
        return False


def _write_rest(descriptor: int, data: bytes, written: int) -> None:
    """A nearly full disk takes a part, and says why at the next attempt. Raises OSError."""
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _create_locked(path: Path, header: bytes) -> tuple[int, int]:
    """Descriptor and size of a new journal at `path`. Raises OSError; then nothing is left at `path` or beside it."""
    beside = path.with_name(f".{path.name}{NEW_SUFFIX}")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(beside, flags, OWNER_ONLY_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.write(descriptor, header) != len(header):
            raise OSError(28, "no space left for a journal")
        beside.rename(path)
    except BaseException:
        os.close(descriptor)
        beside.unlink(missing_ok=True)
        raise
    return descriptor, len(header)
