"""Several requests under way at once: each with journals of its own, and with an end of its own."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flashtrial.protocol.records import Batch
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import BatchReceipt, Outage, Rejected
from flashtrial.tracking.journal.outbox import Journal, cursor_path, dead_path
from flashtrial.tracking.journal.progress import read_cursor, read_dead
from flashtrial.tracking.sending.sync import Sync

JournalMaker = Callable[[str], Journal]
WRITERS = [f"wr_{number}" for number in range(4)]


class Busy(MemoryBackend):
    """Takes four requests at once. The first four meet in the middle, or the test fails; `fails` ends some of them."""

    most_requests = 4

    def __init__(self, fails: Callable[[set[str], int], None] = lambda _writers, _request: None) -> None:
        super().__init__()
        self.loads: list[set[str]] = []
        self._fails = fails
        self._meeting = threading.Barrier(4)
        self._lock = threading.Lock()

    def send(self, batches: Sequence[Batch]) -> tuple[BatchReceipt, ...]:
        with self._lock:
            self.loads.append({batch.writer_id for batch in batches})
            number = len(self.loads)
        if number <= 4:
            self._meeting.wait(10)
        with self._lock:
            self._fails({batch.writer_id for batch in batches}, number)
            return super().send(batches)


@pytest.fixture
def backlog(new_journal: JournalMaker) -> int:
    """Four journals of 0.9 MB each, more than a request holds; the number of records in each."""
    for writer_id in WRITERS:
        journal = new_journal(writer_id)
        for _ in range(18):
            journal.append("data", {"name": "n", "type": "string", "step": 1, "value": "a" * 50_000}, 5)
    return 18


def drain(sync: Sync) -> None:
    while sync.step():
        pass


def seqs(backend: MemoryBackend, writer_id: str) -> list[int]:
    """In the order in which they arrived."""
    return [seq for _, writer, seq in backend.stored if writer == writer_id]


def test_four_requests_are_under_way_at_once_and_each_writers_records_arrive_in_order(
    outbox: Path, backlog: int
) -> None:
    backend = Busy()
    sync = Sync(outbox, backend, FakeClock())
    assert sync.step()
    assert sorted(map(sorted, backend.loads)) == [[writer_id] for writer_id in WRITERS]
    drain(sync)
    assert [seqs(backend, writer_id) for writer_id in WRITERS] == [list(range(1, backlog + 1))] * 4
    assert len(backend.loads) == 5, "what is left of each fits one request, and is not spread over four"


def test_an_outage_of_one_request_leaves_the_others_settled(outbox: Path, backlog: int) -> None:
    def fails(writers: set[str], request: int) -> None:
        if request <= 4 and writers == {"wr_2"}:
            raise Outage("busy", retry_after_s=7)

    backend, clock = Busy(fails), FakeClock()
    sync = Sync(outbox, backend, clock)
    assert not sync.step()
    moved = {writer_id: read_cursor(cursor_path(outbox, writer_id, "native")).seq for writer_id in WRITERS}
    assert [writer_id for writer_id, seq in moved.items() if seq == 0] == ["wr_2"]
    clock.advance(6.9)
    assert not sync.step()
    assert len(backend.loads) == 4
    clock.advance(0.2)
    drain(sync)
    assert [seqs(backend, writer_id) for writer_id in WRITERS] == [list(range(1, backlog + 1))] * 4


def test_a_poisoned_record_is_found_while_the_others_go_on(outbox: Path, backlog: int) -> None:
    def before(batches: Sequence[Batch]) -> None:
        trial = MemoryBackend()
        trial.send(batches)
        if ("run_1", "wr_1", 7) in trial.stored:
            raise Rejected("poison")

    backend = Busy()
    backend.before = before
    sync = Sync(outbox, backend, FakeClock())
    sync.step()
    assert all(seqs(backend, writer_id) for writer_id in WRITERS if writer_id != "wr_1")
    drain(sync)
    every = list(range(1, backlog + 1))
    without = [seq for seq in every if seq != 7]
    assert [seqs(backend, writer_id) for writer_id in WRITERS] == [every, without, every, every]
    assert [record.seq for record in read_dead(dead_path(outbox, "wr_1", "native"))] == [7]


class Roomy(MemoryBackend):
    """Takes four requests at once, or one after the other."""

    most_requests = 4


def test_where_no_thread_can_be_started_the_round_is_sent_one_after_the_other(outbox: Path, backlog: int) -> None:
    backend = Roomy()
    sync = Sync(outbox, backend, FakeClock())
    before = threading.stack_size(1 << 47)  # more than any process can have
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=print).start()
        drain(sync)
    finally:
        threading.stack_size(before)
    assert [seqs(backend, writer_id) for writer_id in WRITERS] == [list(range(1, backlog + 1))] * 4
    assert backend.requests == 5


def test_an_error_of_ours_in_one_request_is_raised_and_not_swallowed(outbox: Path, backlog: int) -> None:
    def fails(writers: set[str], _request: int) -> None:
        if writers == {"wr_3"}:
            raise ZeroDivisionError

    del backlog
    with pytest.raises(ZeroDivisionError):
        Sync(outbox, Busy(fails), FakeClock()).step()


def test_a_narrow_way_is_remembered(outbox: Path, new_journal: JournalMaker) -> None:
    """Not every request is tried at full size, refused, and sent again in halves."""
    refused: list[int] = []

    def before(batches: Sequence[Batch]) -> None:
        size = sum(len(batch.frames) for batch in batches)
        if size > 100_000:
            refused.append(size)
            raise Rejected("HTTP 413", is_certain=False)

    backend = MemoryBackend(before=before)
    journal = new_journal("wr_1")
    for _ in range(60):
        journal.append("data", {"name": "n", "type": "string", "step": 1, "value": "a" * 20_000}, 5)
    drain(Sync(outbox, backend, FakeClock()))
    assert seqs(backend, "wr_1") == list(range(1, 61))
    assert len(refused) == 3
