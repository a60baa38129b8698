"""What became of a run's records, proved by sequence numbers: journals on this disk against the server's intervals.

A journal that is gone was wholly settled: the sync process removes it only then, so its writer wrote what the server
has taken and what was set aside as refused.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import DamagedFrame

if TYPE_CHECKING:
    from flashtrial.tracking.journal_reader import JournalReader

DESTINATION = "native"
_READ_BYTES = 1 << 20


class UnknownRun(FlashtrialError):
    """Raised when neither the outbox nor the database of this home knows the run."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts of records. `sent` were acknowledged; `missing` were written and are not stored (yet)."""

    written: int
    sent: int
    stored: int
    missing: int
    doubled: int

    @property
    def is_clean(self) -> bool:
        """Whether everything written is stored once."""
        return self.missing == 0 and self.doubled == 0

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Writer:
    """The last sequence number that a writer wrote, and the last one that was settled."""

    written: int = 0
    sent: int = 0

    def and_also(self, other: "_Writer") -> "_Writer":
        """The later of two sights of one writer."""
        return _Writer(max(self.written, other.written), max(self.sent, other.sent))


def audit(home: Path, outbox: Path, run_id: str) -> Audit:
    """The run's records, counted. Raises `UnknownRun`."""
    from flashtrial.server.settings import database_of
    from flashtrial.server.views import verify_counts

    # The disk first: what is sent in between is then counted as stored, and not as lost.
    writers = dict(_on_disk(outbox, run_id))
    arrived = verify_counts(database_of(home), run_id)
    for counts in arrived:
        seen = _Writer(counts["max_seq"], counts["max_seq"])
        writers[counts["writer_id"]] = writers.get(counts["writer_id"], _Writer()).and_also(seen)
    if not writers:
        raise UnknownRun(f"no run {run_id} in {home}: `flashtrial runs` lists those there are")
    written, stored = sum(writer.written for writer in writers.values()), sum(counts["stored"] for counts in arrived)
    return Audit(
        written=written,
        sent=sum(writer.sent for writer in writers.values()),
        stored=stored,
        missing=written - stored,
        doubled=sum(counts["doubled"] for counts in arrived),
    )


def _on_disk(outbox: Path, run_id: str) -> Iterator[tuple[str, _Writer]]:
    from flashtrial.tracking.outbox import JOURNAL_SUFFIX, cursor_path, dead_path
    from flashtrial.tracking.progress import read_cursor, read_dead

    refused: dict[str, _Writer] = {}
    for path in outbox.glob(dead_path(outbox, "*", DESTINATION).name):
        for record in read_dead(path):
            if record.run_id == run_id:
                refused[record.writer_id] = _Writer(record.seq, record.seq)
    yield from refused.items()
    for path in outbox.glob(f"*{JOURNAL_SUFFIX}"):
        if (journal := _journal_of(path, run_id)) is not None:
            writer_id = journal.header.writer_id
            sent = read_cursor(cursor_path(outbox, writer_id, DESTINATION)).seq
            yield writer_id, _Writer(_last_seq(journal), sent).and_also(refused.get(writer_id, _Writer()))


def _journal_of(path: Path, run_id: str) -> "JournalReader | None":
    from flashtrial.tracking.journal_reader import JournalReader

    try:
        journal = JournalReader.open(path)
    except (DamagedFrame, FileNotFoundError):  # no journal of ours, or settled and removed meanwhile
        return None
    return journal if journal.header.run_id == run_id else None


def _last_seq(journal: "JournalReader") -> int:
    """The last record that is whole; sequence numbers have no gaps, so it is their count."""
    last_seq, position = 0, 0
    with contextlib.suppress(DamagedFrame, FileNotFoundError):
        while (stretch := journal.read(position, _READ_BYTES)) is not None:
            last_seq, position = stretch.marks[-1].seq, stretch.marks[-1].end
    return last_seq
