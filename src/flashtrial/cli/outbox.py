"""What this disk knows of each writer: how far it wrote, and how far the server has acknowledged.

A journal that is gone was wholly settled: the sync process removes it only then.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flashtrial.protocol.records import DamagedFrame
from flashtrial.tracking.backends.native import NativeBackend
from flashtrial.tracking.journal_reader import JournalReader
from flashtrial.tracking.outbox import JOURNAL_SUFFIX, cursor_path, dead_path
from flashtrial.tracking.progress import read_cursor, read_dead

DESTINATION = NativeBackend.name
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Writer:
    """The last sequence number that a writer wrote, and the last one that was settled: sent, or refused for good.

    Sequence numbers of a writer have no gaps, so each is a count.
    """

    run_id: str
    id: str
    written: int
    sent: int

    @property
    def pending(self) -> int:
        return self.written - self.sent


def writers(outbox: Path) -> Iterator[Writer]:
    """Each writer that left a journal, and each that left a refused record behind a journal that is gone."""
    for path in outbox.glob(f"*{JOURNAL_SUFFIX}"):
        with contextlib.suppress(DamagedFrame, FileNotFoundError):  # no journal of ours, or removed meanwhile
            yield _of_journal(outbox, JournalReader.open(path))
    for path in outbox.glob(dead_path(outbox, "*", DESTINATION).name):
        for record in read_dead(path):
            yield Writer(record.run_id, record.writer_id, record.seq, record.seq)


def pending(outbox: Path) -> int:
    """How many records of this outbox no server has yet."""
    return sum(writer.pending for writer in writers(outbox))


def is_sent(outbox: Path) -> bool:
    """Whether every journal is settled to its end; looks at sizes only, so it may be asked often."""
    return all(_is_sent(outbox, path) for path in outbox.glob(f"*{JOURNAL_SUFFIX}"))


def _is_sent(outbox: Path, journal: Path) -> bool:
    try:
        size_bytes = journal.stat().st_size
    except FileNotFoundError:
        return True
    return read_cursor(cursor_path(outbox, journal.name.removesuffix(JOURNAL_SUFFIX), DESTINATION)).offset >= size_bytes


def _of_journal(outbox: Path, journal: JournalReader) -> Writer:
    header = journal.header
    # The cursor first: what is sent meanwhile must not look like more than was written.
    sent = read_cursor(cursor_path(outbox, header.writer_id, DESTINATION)).seq
    return Writer(header.run_id, header.writer_id, max(sent, _last_seq(journal)), sent)


def _last_seq(journal: JournalReader) -> int:
    last_seq, position = 0, 0
    with contextlib.suppress(DamagedFrame):  # what stands behind damage is not readable for anybody
        while (stretch := journal.read(position, _READ_BYTES)) is not None:
            last_seq, position = stretch.marks[-1].seq, stretch.marks[-1].end
    return last_seq
