"""The journal: what is appended is read, in order, without gaps, whatever went wrong in between."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import ormsgpack
import pytest

from flashtrial.protocol.records import MAX_FRAME_BYTES, DamagedFrame, JournalHeader, decode_record, read_frames
from flashtrial.tracking.journal.outbox import Journal, JournalClosed, OutboxUnwritable, RecordTooLarge
from flashtrial.tracking.journal.reader import JournalReader

JournalMaker = Callable[[str], Journal]
ALL = 1 << 30


def values_in(journal: Journal) -> list[tuple[int, object]]:
    """Sequence number and value of each record in the file."""
    reader = JournalReader.open(journal.path)
    stretch = reader.read(0, ALL)
    payloads = [payload for payload, _ in read_frames(stretch.data)] if stretch else []
    records = [decode_record(reader.header.run_id, reader.header.writer_id, payload) for payload in payloads]
    return [(record.seq, record.body["x"]) for record in records]


def test_what_is_appended_is_in_the_file_when_append_returns(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    assert [journal.append("metric", {"x": value}, 5) for value in (1.5, 2.5)] == [1, 2]
    assert values_in(journal) == [(1, 1.5), (2, 2.5)]


def test_a_body_that_cannot_be_packed_takes_no_number(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    with pytest.raises(ormsgpack.MsgpackEncodeError):
        journal.append("metric", {"x": object()}, 5)
    assert journal.append("metric", {"x": 1}, 5) == 1


def test_a_record_beyond_the_frame_limit_is_refused_and_takes_no_number(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    with pytest.raises(RecordTooLarge):
        journal.append("data", {"x": "a" * MAX_FRAME_BYTES}, 5)
    journal.append("metric", {"x": 1}, 5)
    assert values_in(journal) == [(1, 1)]


def test_threads_share_a_journal_without_gaps(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    threads = [
        threading.Thread(target=lambda: [journal.append("metric", {"x": 0}, 5) for _ in range(200)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seq for seq, _ in values_in(journal)] == list(range(1, 801))


def test_a_closed_journal_says_so(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    journal.close()
    journal.close()
    with pytest.raises(JournalClosed):
        journal.append("metric", {"x": 1}, 5)


def test_an_outbox_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxUnwritable, match="FLASHTRIAL_HOME"):
        Journal.create(tmp_path / "file" / "outbox", JournalHeader("run_1", "wr_1", {}))


def test_the_writer_is_alive_until_it_closes(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    reader = JournalReader.open(journal.path)
    assert reader.writer_is_alive()
    journal.close()
    assert not reader.writer_is_alive()


@pytest.mark.parametrize("torn_bytes", [1, 7, 8, 9, 20])
def test_a_torn_tail_costs_the_torn_record_only(new_journal: JournalMaker, torn_bytes: int) -> None:
    journal = new_journal("wr_1")
    journal.append("metric", {"x": 1}, 5)
    whole_bytes = journal.path.stat().st_size
    journal.append("metric", {"x": 2}, 5)
    os.truncate(journal.path, whole_bytes + torn_bytes)
    assert values_in(journal) == [(1, 1)]


def test_zeros_after_the_last_record_are_damage_and_not_records(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    journal.append("metric", {"x": 1}, 5)
    reader = JournalReader.open(journal.path)
    first = reader.read(0, ALL)
    assert first is not None
    with journal.path.open("ab") as file:
        file.write(bytes(64))
    assert reader.read(0, ALL) == first
    with pytest.raises(DamagedFrame):
        reader.read(first.marks[-1].end, ALL)


def test_a_reader_takes_a_record_larger_than_it_asked_for_whole(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    journal.append("data", {"x": "a" * 100_000}, 5)
    journal.append("metric", {"x": 1}, 5)
    stretch = JournalReader.open(journal.path).read(0, 1)
    assert stretch is not None
    assert [mark.seq for mark in stretch.marks] == [1]
    assert len(stretch.data) > 100_000


def test_a_stretch_gives_its_frames_singly(new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    for value in (1, 2, 3):
        journal.append("metric", {"x": value}, 5)
    stretch = JournalReader.open(journal.path).read(0, ALL)
    assert stretch is not None
    frame = stretch.frame_of(2)
    assert frame is not None
    assert frame in stretch.data
    [(payload, _)] = read_frames(frame)
    assert decode_record("r", "w", payload).body == {"x": 2}
    assert stretch.frame_of(4) is None
    assert [mark.seq for mark in stretch.first(2).marks] == [1, 2]
    assert stretch.data.startswith(stretch.first(2).data)


def test_a_file_that_is_no_journal_is_damage(outbox: Path) -> None:
    path = outbox / "wr_1.journal"
    path.write_bytes(b"FTJ1" + bytes(3))
    with pytest.raises(DamagedFrame):
        JournalReader.open(path)


def test_a_journal_that_cannot_be_looked_up_for_a_moment_is_not_taken_for_removed(
    outbox: Path, new_journal: JournalMaker
) -> None:
    journal = new_journal("wr_1")
    elsewhere = outbox.rename(outbox.with_name("elsewhere"))
    outbox.symlink_to("x" * 300)  # a name that no file system has
    with pytest.raises(OSError, match="too long"):
        journal.path.stat()
    assert not journal.revive()
    assert journal.append("metric", {"x": 1.0}, 5) == 1
    outbox.unlink()
    elsewhere.rename(outbox)
    assert values_in(journal) == [(1, 1.0)]
