"""The sync loop on real files, with a destination in memory and a clock that the test moves."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flashtrial.core.files import file_lock
from flashtrial.protocol.records import Batch, JournalHeader, Record
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import Outage, Rejected
from flashtrial.tracking.journal.outbox import Journal, cursor_path, dead_path, lock_path
from flashtrial.tracking.journal.progress import Cursor, read_cursor, read_dead, read_status
from flashtrial.tracking.journal.routes import Destination, Route
from flashtrial.tracking.sending.feeds import sweep
from flashtrial.tracking.sending.outbox_state import OutboxState
from flashtrial.tracking.sending.sync import Stop, Sync
from flashtrial.tracking.sending.sync_main import keep_synced

JournalMaker = Callable[[str], Journal]


def append(journal: Journal, count: int) -> None:
    for _ in range(count):
        journal.append("metric", {"step": None, "values": {"x": 1.0}}, 5)


def drain(sync: Sync) -> None:
    while sync.step():
        pass


def seqs(backend: MemoryBackend, writer_id: str = "wr_1") -> list[int]:
    return sorted(seq for _, writer, seq in backend.stored if writer == writer_id)


def test_records_go_out_once_and_in_order(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    sync = Sync(outbox, backend, FakeClock())
    journal = new_journal("wr_1")
    for count in (5, 1, 3):
        append(journal, count)
        drain(sync)
    assert list(backend.stored) == [("run_1", "wr_1", seq) for seq in range(1, 10)]
    assert backend.requests == 3


def test_a_journal_is_removed_when_its_writer_is_gone_and_all_is_sent(outbox: Path, new_journal: JournalMaker) -> None:
    sync = Sync(outbox, MemoryBackend(), FakeClock())
    journal = new_journal("wr_1")
    append(journal, 3)
    drain(sync)
    assert journal.path.exists()
    assert not sync.is_idle()
    journal.close()
    drain(sync)
    assert sync.is_idle()
    assert list(outbox.iterdir()) == []


def test_a_journal_stays_while_another_destination_lacks_some_of_it(outbox: Path, new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    append(journal, 3)
    journal.close()
    state = OutboxState(outbox, FakeClock())
    both = frozenset({Destination("native"), Destination("other")})
    route = Route(Destination("native"), lambda _header, _is_alive: both)
    sync = Sync(outbox, MemoryBackend(), FakeClock(), route=route, state=state)
    drain(sync)
    assert journal.path.exists()
    assert sync.is_idle()
    state.move("wr_1", "other", Cursor(journal.path.stat().st_size, 3))
    drain(sync)
    assert not journal.path.exists()


def test_a_journal_with_a_torn_tail_is_sent_up_to_it_and_removed(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    journal = new_journal("wr_1")
    append(journal, 3)
    journal.close()
    os.truncate(journal.path, journal.path.stat().st_size - 2)
    drain(Sync(outbox, backend, FakeClock()))
    assert seqs(backend) == [1, 2]
    assert not journal.path.exists()


def test_damage_in_the_middle_is_set_aside_with_what_follows(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    journal = new_journal("wr_1")
    append(journal, 2)
    position = journal.path.stat().st_size
    append(journal, 2)
    journal.close()
    content = bytearray(journal.path.read_bytes())
    content[position + 10] ^= 255
    journal.path.write_bytes(content)
    sync = Sync(outbox, backend, FakeClock())
    drain(sync)
    assert seqs(backend) == [1, 2]
    assert sync.is_idle()
    assert (outbox / "wr_1.journal.damaged").read_bytes() == bytes(content)


def test_an_outage_moves_nothing_and_is_waited_out(outbox: Path, new_journal: JournalMaker) -> None:
    clock = FakeClock()
    faults: list[Exception] = [Outage("down"), Outage("busy", retry_after_s=100)]

    def before(_batches: Sequence[Batch]) -> None:
        if faults:
            raise faults.pop(0)

    backend = MemoryBackend(before=before)
    sync = Sync(outbox, backend, clock)
    append(new_journal("wr_1"), 3)
    assert not sync.step()
    status = read_status(outbox)
    assert status is not None
    assert status.outage == "down"
    clock.advance(0.2)  # full jitter's first wait is at most this
    assert not sync.step()
    clock.advance(99)
    assert not sync.step()
    assert backend.requests == 2
    clock.advance(1)
    assert sync.step()
    assert seqs(backend) == [1, 2, 3]
    status = read_status(outbox)
    assert status is not None
    assert status.outage is None


def test_a_wall_clock_that_steps_back_does_not_stop_the_sending(outbox: Path, new_journal: JournalMaker) -> None:
    clock = FakeClock()
    faults = [Outage("down")]

    def before(_batches: Sequence[Batch]) -> None:
        if faults:
            raise faults.pop()

    backend = MemoryBackend(before=before)
    sync = Sync(outbox, backend, clock)
    append(new_journal("wr_1"), 1)
    sync.step()
    clock.set_time_ms(0)
    clock.advance(30)
    assert sync.step()


def test_a_server_that_comes_up_elsewhere_ends_the_waiting(outbox: Path, new_journal: JournalMaker) -> None:
    here = ["old"]

    def before(_batches: Sequence[Batch]) -> None:
        if here == ["old"]:
            raise Outage("nobody there", retry_after_s=1000)

    backend = MemoryBackend(before=before)
    sync = Sync(outbox, backend, FakeClock(), whereabouts=lambda: tuple(here))
    append(new_journal("wr_1"), 1)
    assert not sync.step()
    assert not sync.step()
    here[:] = ["new"]
    assert sync.step()


def test_a_receipt_that_is_lost_doubles_nothing(outbox: Path, new_journal: JournalMaker) -> None:
    clock = FakeClock()
    faults = [Outage("the line broke after the request")]

    def after(_batches: Sequence[Batch]) -> None:
        if faults:
            raise faults.pop()

    backend = MemoryBackend(after=after)
    sync = Sync(outbox, backend, clock)
    append(new_journal("wr_1"), 3)
    assert not sync.step()
    clock.advance(30)
    drain(sync)
    assert seqs(backend) == [1, 2, 3]


def test_a_sync_that_died_before_its_cursor_moved_doubles_nothing(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    append(new_journal("wr_1"), 3)
    drain(Sync(outbox, backend, FakeClock()))
    cursor_path(outbox, "wr_1", "native").unlink()
    drain(Sync(outbox, backend, FakeClock()))
    assert seqs(backend) == [1, 2, 3]


def test_refused_records_are_set_aside_with_reason_and_frame_and_the_rest_goes_on(
    outbox: Path, new_journal: JournalMaker
) -> None:
    def refuses(record: Record) -> str | None:
        return "odd" if record.seq % 2 else None

    backend = MemoryBackend(refuses=refuses)
    append(new_journal("wr_1"), 4)
    drain(Sync(outbox, backend, FakeClock()))
    assert seqs(backend) == [2, 4]
    dead = read_dead(dead_path(outbox, "wr_1", "native"))
    assert [(record.seq, record.reason) for record in dead] == [(1, "odd"), (3, "odd")]
    assert all(record.frame for record in dead)
    assert read_cursor(cursor_path(outbox, "wr_1", "native")).seq == 4


@pytest.mark.parametrize("poison", [1, 7, 20])
def test_a_request_that_is_rejected_whole_is_cut_down_to_the_record_to_blame(
    outbox: Path, new_journal: JournalMaker, poison: int
) -> None:
    """The poison is in one of two journals; the other's records are never blamed."""

    def before(batches: Sequence[Batch]) -> None:
        backend_of_trial = MemoryBackend()
        backend_of_trial.send(batches)
        if ("run_1", "wr_2", poison) in backend_of_trial.stored:
            raise Rejected("poison")

    backend = MemoryBackend(before=before)
    append(new_journal("wr_1"), 20)
    append(new_journal("wr_2"), 20)
    drain(Sync(outbox, backend, FakeClock()))
    assert seqs(backend, "wr_1") == list(range(1, 21))
    assert seqs(backend, "wr_2") == [seq for seq in range(1, 21) if seq != poison]
    assert [record.seq for record in read_dead(dead_path(outbox, "wr_2", "native"))] == [poison]
    assert read_dead(dead_path(outbox, "wr_1", "native")) == []


def test_a_large_backlog_does_not_keep_a_small_one_waiting(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    large, small = new_journal("wr_1"), new_journal("wr_2")
    for _ in range(40):
        large.append("data", {"name": "n", "type": "string", "step": 1, "value": "a" * 100_000}, 5)
    append(small, 1)
    Sync(outbox, backend, FakeClock()).step()
    assert seqs(backend, "wr_2") == [1]
    assert 0 < len(seqs(backend, "wr_1")) < 40


def test_more_journals_than_fit_a_request_take_turns(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    for number in range(40):
        journal = new_journal(f"wr_{number}")
        for _ in range(3):
            journal.append("data", {"name": "n", "type": "string", "step": 1, "value": "a" * 60_000}, 5)
    sync = Sync(outbox, backend, FakeClock())
    for _ in range(4):  # thirteen a request
        sync.step()
    assert {writer for _, writer, _ in backend.stored} == {f"wr_{number}" for number in range(40)}


def test_running_until_idle_ends_when_the_last_writer_is_gone(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    journal = new_journal("wr_1")
    append(journal, 3)
    journal.close()
    Sync(outbox, backend, FakeClock()).run_until_idle(threading.Event())
    assert seqs(backend) == [1, 2, 3]


class SyncWithALateWriter(Sync):
    """A writer comes after the last look and before the lock is let go of."""

    def __init__(self, outbox: Path, backend: MemoryBackend, come: Callable[[], None]) -> None:
        super().__init__(outbox, backend, FakeClock())
        self._come: Callable[[], None] | None = come

    def run_until_idle(self, stop: Stop) -> None:
        super().run_until_idle(stop)
        come, self._come = self._come, None
        if come:
            come()


def test_a_writer_that_comes_while_the_sync_process_ends_is_not_left_alone(
    outbox: Path, new_journal: JournalMaker
) -> None:
    def come() -> None:
        journal = new_journal("wr_late")
        append(journal, 2)
        journal.close()

    backend = MemoryBackend()
    keep_synced(outbox, SyncWithALateWriter(outbox, backend, come), threading.Event())
    assert seqs(backend, "wr_late") == [1, 2]


def test_a_second_sync_process_leaves_the_outbox_to_the_first(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    append(new_journal("wr_1"), 2)
    with file_lock(lock_path(outbox), wait=False):
        keep_synced(outbox, Sync(outbox, backend, FakeClock()), threading.Event())
    assert backend.requests == 0


def test_a_stop_sends_what_is_there_first(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    append(new_journal("wr_1"), 3)
    stop = threading.Event()
    stop.set()
    Sync(outbox, backend, FakeClock()).run_until_idle(stop)
    assert seqs(backend) == [1, 2, 3]


def test_the_sweep_takes_leftovers_and_leaves_journals(outbox: Path, new_journal: JournalMaker) -> None:
    journal = new_journal("wr_1")
    kept = [journal.path, cursor_path(outbox, "wr_1", "native"), dead_path(outbox, "wr_0", "native")]
    old = outbox / ".wr_9.journal.new"
    young = outbox / ".wr_8.journal.new"
    for path in (*kept[1:], cursor_path(outbox, "wr_0", "native"), outbox / ".wr_1.native.cursor.77", old, young):
        path.touch()
    os.utime(old, (0, 0))
    sweep(outbox)
    assert sorted(outbox.iterdir()) == sorted([*kept, young])


def test_an_unreadable_header_is_set_aside(outbox: Path) -> None:
    (outbox / "wr_1.journal").write_bytes(b"nonsense")
    sync = Sync(outbox, MemoryBackend(), FakeClock())
    drain(sync)
    assert sync.is_idle()
    assert [path.name for path in outbox.iterdir()] == ["wr_1.journal.damaged"]


def test_a_journal_without_records_is_removed_when_its_writer_is_gone(outbox: Path) -> None:
    Journal.create(outbox, JournalHeader("run_1", "wr_1", {})).close()
    sync = Sync(outbox, MemoryBackend(), FakeClock())
    drain(sync)
    assert list(outbox.iterdir()) == []


def test_a_refused_record_waits_where_the_list_of_the_dead_cannot_be_written(
    outbox: Path, new_journal: JournalMaker
) -> None:
    clock = FakeClock()
    backend = MemoryBackend(refuses=lambda record: "no" if record.seq == 2 else None)
    append(new_journal("wr_1"), 3)
    dead = dead_path(outbox, "wr_1", "native")
    dead.mkdir()  # nobody writes to that
    sync = Sync(outbox, backend, clock)
    drain(sync)
    status = read_status(outbox)
    assert status is not None
    assert "wr_1.native.dead" in (status.outage or "")
    assert read_cursor(cursor_path(outbox, "wr_1", "native")).seq == 0
    dead.rmdir()
    clock.advance(31)
    drain(sync)
    assert [record.seq for record in read_dead(dead)] == [2]
    assert seqs(backend) == [1, 3]
    assert read_cursor(cursor_path(outbox, "wr_1", "native")).seq == 3


def test_a_journal_that_cannot_be_read_keeps_no_other_from_being_sent(outbox: Path, new_journal: JournalMaker) -> None:
    backend = MemoryBackend()
    sync = Sync(outbox, backend, FakeClock())
    broken, fine = new_journal("wr_1"), new_journal("wr_2")
    append(broken, 3)
    append(fine, 3)
    broken.path.rename(outbox / "elsewhere")
    broken.path.symlink_to(broken.path.name)  # every system call on it fails
    drain(sync)
    assert seqs(backend, "wr_2") == [1, 2, 3]
    broken.path.unlink()
    (outbox / "elsewhere").rename(broken.path)
    drain(sync)
    assert seqs(backend, "wr_1") == [1, 2, 3]


def test_a_journal_that_cannot_be_read_any_more_keeps_no_other_from_being_sent(
    outbox: Path, new_journal: JournalMaker
) -> None:
    backend = MemoryBackend()
    sync = Sync(outbox, backend, FakeClock())
    broken, fine = new_journal("wr_1"), new_journal("wr_2")
    append(broken, 3)
    drain(sync)
    append(broken, 3)
    append(fine, 3)
    broken.path.rename(outbox / "elsewhere")
    broken.path.symlink_to(broken.path.name)
    drain(sync)
    assert sync.is_idle() is False
    assert seqs(backend, "wr_2") == [1, 2, 3]
    broken.path.unlink()
    (outbox / "elsewhere").rename(broken.path)
    drain(sync)
    assert seqs(backend, "wr_1") == [1, 2, 3, 4, 5, 6]


def test_a_proxy_with_a_small_limit_gets_small_requests_and_no_record_that_is_too_large_for_it(
    outbox: Path, new_journal: JournalMaker
) -> None:
    def before(batches: Sequence[Batch]) -> None:
        if sum(len(batch.frames) for batch in batches) > 400:
            raise Rejected("HTTP 413", is_certain=False)

    backend = MemoryBackend(before=before)
    sync = Sync(outbox, backend, FakeClock())
    journal = new_journal("wr_1")
    append(journal, 40)
    journal.append("data", {"name": "x", "value": "x" * 70_000}, 5)
    append(journal, 40)
    drain(sync)
    assert seqs(backend) == [seq for seq in range(1, 82) if seq != 41]
    [dead] = read_dead(dead_path(outbox, "wr_1", "native"))
    assert dead.seq == 41
    assert dead.reason.startswith(f"HTTP 413: the record takes {len(dead.frame)} bytes")
    assert "client_max_body_size" in dead.reason


def test_a_proxy_that_takes_nothing_for_a_while_costs_no_record_and_leaves_no_small_requests(
    outbox: Path, new_journal: JournalMaker
) -> None:
    closed = True
    sizes: list[int] = []

    def before(batches: Sequence[Batch]) -> None:
        sizes.append(sum(len(batch.frames) for batch in batches))
        if closed:
            raise Rejected("HTTP 413", is_certain=False)

    backend, clock = MemoryBackend(before=before), FakeClock()
    sync = Sync(outbox, backend, clock)
    append(new_journal("wr_1"), 3000)
    for _ in range(5):
        drain(sync)
        clock.advance(3600)
    status = read_status(outbox)
    assert status is not None
    assert status.outage is not None
    assert "HTTP 413, which lets not even" in status.outage
    assert len(sizes) < 30
    closed = False
    sizes.clear()
    drain(sync)
    assert seqs(backend) == list(range(1, 3001))
    assert not dead_path(outbox, "wr_1", "native").exists()
    assert max(sizes) > sum(sizes) / 3, "soon they are as large as ever"


def test_a_record_is_set_aside_only_where_so_much_never_went_through(outbox: Path, new_journal: JournalMaker) -> None:
    limit_bytes = 1 << 20

    def before(batches: Sequence[Batch]) -> None:
        if sum(len(batch.frames) for batch in batches) > limit_bytes:
            raise Rejected("HTTP 413", is_certain=False)

    backend = MemoryBackend(before=before)
    sync = Sync(outbox, backend, FakeClock())
    journal = new_journal("wr_1")
    journal.append("data", {"name": "x", "value": "x" * 200_000}, 5)
    drain(sync)
    limit_bytes = 0
    journal.append("data", {"name": "x", "value": "x" * 150_000}, 5)
    drain(sync)
    assert not dead_path(outbox, "wr_1", "native").exists()
    limit_bytes = 250_000
    journal.append("data", {"name": "x", "value": "x" * 300_000}, 5)
    sync.last_round()
    assert seqs(backend) == [1, 2]
    assert [record.seq for record in read_dead(dead_path(outbox, "wr_1", "native"))] == [3]
