"""What this disk knows of each writer: how far it wrote, how far each destination has come, and why the rest waits.

A journal that is gone was wholly settled: the sync process removes it only then.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import ormsgpack

from flashtrial.protocol.records import DamagedFrame, JournalHeader, read_frames
from flashtrial.tracking.backends.native import NativeBackend
from flashtrial.tracking.journal.outbox import cursor_path, dead_path, is_locked, lock_path
from flashtrial.tracking.journal.progress import dropped_path, read_cursor, read_dead, read_dropped, read_status
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.journal.routes import NATIVE, Destination, Destinations
from flashtrial.tracking.journal.segments import list_segments, segment_path
from flashtrial.tracking.media.uploads import FILES, pending_files

DESTINATION = NativeBackend.name
_READ_BYTES = 1 << 20
_destinations_of = Destinations()


@dataclass(frozen=True, slots=True)
class Writer:
    """The last sequence number that a writer wrote, and the last one that was settled: sent, or refused for good.

    Sequence numbers of a writer have no gaps, so each is a count. `refused` and `dropped` are among the settled and the
    written. `lags` has what other destinations still lack, and `places` where each destination is. `since_ms`: the time
    of the oldest record that waits.
    """

    run_id: str
    id: str
    written: int
    sent: int
    refused: int = 0
    dropped: int = 0
    is_alive: bool = False
    since_ms: int | None = None
    lags: dict[str, int] = field(default_factory=dict)
    places: dict[str, Destination] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        return self.written - self.sent


def writers(outbox: Path) -> Iterator[Writer]:
    """Each writer that left a journal, and each that left a refused record behind a journal that is gone."""
    if not outbox.is_dir():
        return
    segments = list_segments(outbox)
    for writer_id, numbers in segments.items():
        with contextlib.suppress(DamagedFrame, FileNotFoundError):  # no journal of ours, or removed meanwhile
            yield _of_journal(outbox, writer_id, numbers)
    for writer_id in sorted(_writers_of_lists(outbox) - segments.keys()):
        yield from _of_lists(outbox, writer_id)


def pending(outbox: Path) -> int:
    """How many records of this outbox no server has yet."""
    return sum(writer.pending for writer in writers(outbox))


def most_pending(outbox: Path) -> tuple[int, int]:
    """How many records some destination lacks (of each writer, the one that is behind most), and how many files."""
    found = list(writers(outbox))
    records = (max([each.pending, *(lag for name, lag in each.lags.items() if name != FILES)]) for each in found)
    return sum(records), sum(each.lags.get(FILES, 0) for each in found)


def is_sent(outbox: Path) -> bool:
    """Whether every journal is settled to its end; looks at sizes only, so it may be asked often."""
    found = list_segments(outbox) if outbox.is_dir() else {}
    return all(_is_sent(outbox, writer_id, numbers[-1]) for writer_id, numbers in found.items())


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of one run waits for one destination, since when, and why as far as is known.

    `where` is the destination with its address, as the sync process names it in its status.
    """

    run_id: str
    destination: str
    records: int
    since_ms: int | None
    reason: str
    where: str = ""

    @property
    def unit(self) -> str:
        return "files" if self.destination == FILES else "records"


def waiting(outbox: Path) -> list[Waiting]:
    """What waits, by run and destination, oldest run first."""
    found: dict[tuple[str, str], Waiting] = {}
    for writer in writers(outbox):
        for name, records in {DESTINATION: writer.pending, **writer.lags}.items():
            if records:
                before = found.get((writer.run_id, name))
                times = [at for at in (writer.since_ms, before.since_ms if before else None) if at is not None]
                total = records + (before.records if before else 0)
                where = str(writer.places.get(name, name))
                reason = _reason(outbox, where)
                found[writer.run_id, name] = Waiting(
                    writer.run_id, name, total, min(times, default=None), reason, where
                )
    return [found[key] for key in sorted(found)]


def _reason(outbox: Path, where: str) -> str:
    if not is_locked(lock_path(outbox), shared=False):
        return "no sync process runs: `flashtrial sync` sends it"
    status = read_status(outbox)
    return (status.outages.get(where) if status else None) or "being sent"


def _is_sent(outbox: Path, writer_id: str, last: int) -> bool:
    try:
        size_bytes = segment_path(outbox, writer_id, last).stat().st_size
    except FileNotFoundError:
        return True
    cursor = read_cursor(cursor_path(outbox, writer_id, DESTINATION))
    return cursor.segment >= last and cursor.offset >= size_bytes


def _of_journal(outbox: Path, writer_id: str, numbers: list[int]) -> Writer:
    readers = [JournalReader.open(segment_path(outbox, writer_id, number)) for number in numbers]
    header = readers[0].header
    is_alive = any(reader.writer_is_alive() for reader in readers)
    # The cursors first: what is sent meanwhile must not look like more than was written.
    places = {each.name: each for each in _destinations_of(header, is_alive)}
    settled = {name: read_cursor(cursor_path(outbox, writer_id, name)).seq for name in places}
    if NATIVE in places:
        places[FILES] = replace(places[NATIVE], name=FILES)
    dropped = read_dropped(dropped_path(outbox, writer_id))
    lasts = [*settled.values(), *(each.last for each in dropped), _last_seq(readers)]
    written, sent = max(lasts), settled.pop(DESTINATION, max(lasts))
    return Writer(
        header.run_id,
        header.writer_id,
        written,
        sent,
        refused=len(read_dead(dead_path(outbox, writer_id, DESTINATION))),
        dropped=sum(each.count for each in dropped),
        is_alive=is_alive,
        since_ms=_since_ms(numbers, readers, header) if min([sent, *settled.values()]) < written else None,
        lags={name: written - seq for name, seq in settled.items()} | _lag_of_files(outbox, writer_id),
        places=places,
    )


def _lag_of_files(outbox: Path, writer_id: str) -> dict[str, int]:
    """How many files the server lacks the bytes of; their records it may have."""
    files = pending_files(outbox, writer_id)
    return {FILES: files} if files else {}


def _writers_of_lists(outbox: Path) -> set[str]:
    lists = [*outbox.glob(dead_path(outbox, "*", DESTINATION).name), *outbox.glob(dropped_path(outbox, "*").name)]
    return {path.name.split(".")[0] for path in lists}


def _of_lists(outbox: Path, writer_id: str) -> Iterator[Writer]:
    """What the lists of refused and dropped records say of a writer whose journal is gone."""
    dead = read_dead(dead_path(outbox, writer_id, DESTINATION))
    dropped = read_dropped(dropped_path(outbox, writer_id))
    for run_id in {each.run_id for each in dead} | {each.run_id for each in dropped}:
        last = max([*(each.seq for each in dead), *(each.last for each in dropped)])
        count = sum(each.count for each in dropped)
        yield Writer(run_id, writer_id, last, last, refused=len(dead), dropped=count)


def _last_seq(readers: list[JournalReader]) -> int:
    for reader in reversed(readers):
        if last := _last_of(reader):
            return last
    return 0


def _last_of(journal: JournalReader) -> int:
    last_seq, position = 0, 0
    with contextlib.suppress(DamagedFrame):  # what stands behind damage is not readable for anybody
        while (stretch := journal.read(position, _READ_BYTES)) is not None:
            last_seq, position = stretch.marks[-1].seq, stretch.marks[-1].end
    return last_seq


def _since_ms(numbers: list[int], readers: list[JournalReader], header: JournalHeader) -> int | None:
    """The time of the first record that the server lacks, by its writer's clock; None where that cannot be read."""
    cursor = read_cursor(cursor_path(readers[0].path.parent, header.writer_id, DESTINATION))
    for number, reader in zip(numbers, readers, strict=True):
        stretch = reader.read(cursor.offset if number == cursor.segment else 0, 1)
        for payload, _ in read_frames(stretch.data) if stretch else ():
            match ormsgpack.unpackb(payload):
                case [int(seq), _, int(time_ms), _] if seq > cursor.seq:
                    return time_ms
    return None
