"""Requests are committed in groups, in their order, and every one of them is answered."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import pytest

from flashtrial.server.commit_queue import MAX_GROUP, MAX_WAITING, MAX_WAITING_BYTES, CommitQueue, NotRunning, QueueFull
from testkit.waiting import wait_until

WAIT_S = 10


class _Ledger:
    """What was committed; a gate holds the thread up, and words can be refused or make a whole group fail."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.is_open = False

    def commit(self, group: Sequence[str]) -> list[str | Exception]:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        self.groups.append(list(group))
        if "crash" in group:
            raise OSError("disk full")
        return [ValueError(word) if word == "bad" else word.upper() for word in group]

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


@pytest.fixture
def ledger() -> _Ledger:
    return _Ledger()


@pytest.fixture
def queue(ledger: _Ledger) -> Iterator[CommitQueue[str, str]]:
    """A started queue whose thread waits at the ledger's gate."""
    started: CommitQueue[str, str] = CommitQueue(ledger.commit, ledger.open, ledger.close)
    started.start()
    yield started
    ledger.gate.set()
    started.stop()


def test_what_waits_is_committed_together_and_each_gets_its_own_answer(
    ledger: _Ledger, queue: CommitQueue[str, str]
) -> None:
    first = queue.submit("a")
    assert ledger.entered.wait(WAIT_S)
    others = [queue.submit(word) for word in ("b", "bad", "c")]
    ledger.gate.set()
    assert first.result(WAIT_S) == "A"
    assert [others[0].result(WAIT_S), others[2].result(WAIT_S)] == ["B", "C"]
    assert isinstance(others[1].exception(WAIT_S), ValueError)
    assert ledger.groups == [["a"], ["b", "bad", "c"]]


def test_a_failed_group_is_told_so_and_the_thread_lives(ledger: _Ledger, queue: CommitQueue[str, str]) -> None:
    ledger.gate.set()
    assert isinstance(queue.submit("crash").exception(WAIT_S), OSError)
    assert queue.submit("a").result(WAIT_S) == "A"


def test_stop_commits_what_was_submitted_and_takes_no_more(ledger: _Ledger, queue: CommitQueue[str, str]) -> None:
    futures = [queue.submit(str(number)) for number in range(MAX_GROUP + 5)]
    ledger.gate.set()
    queue.stop()
    assert [future.result(0) for future in futures] == [str(number) for number in range(MAX_GROUP + 5)]
    assert not ledger.is_open
    assert not queue.is_running
    with pytest.raises(NotRunning):
        queue.submit("late")


def test_more_than_the_queue_holds_is_refused_at_once(ledger: _Ledger, queue: CommitQueue[str, str]) -> None:
    queue.submit("a")
    assert ledger.entered.wait(WAIT_S)
    for _ in range(MAX_WAITING):
        queue.submit("b")
    with pytest.raises(QueueFull):
        queue.submit("c")


def test_more_bytes_than_the_queue_holds_are_refused_until_some_are_done(
    ledger: _Ledger, queue: CommitQueue[str, str]
) -> None:
    large = queue.submit("a", 10 * MAX_WAITING_BYTES)  # one always fits
    assert ledger.entered.wait(WAIT_S)
    with pytest.raises(QueueFull, match="bytes"):
        queue.submit("b", 1)
    ledger.gate.set()
    assert large.result(WAIT_S) == "A"

    def taken() -> bool:
        with contextlib.suppress(QueueFull):  # the bytes are let go a moment after the result is there
            return queue.submit("c", MAX_WAITING_BYTES).result(WAIT_S) == "C"
        return False

    wait_until(taken, what="room in the queue")


def test_chores_are_done_while_nobody_waits_and_a_failing_one_harms_nobody(ledger: _Ledger) -> None:
    done: list[int] = []
    all_done = threading.Event()

    def chore() -> bool:
        done.append(len(done))
        if len(done) == 5:
            raise OSError("disk full")
        if len(done) > 5:
            all_done.set()
        return len(done) < 5

    ledger.gate.set()
    started: CommitQueue[str, str] = CommitQueue(ledger.commit, ledger.open, ledger.close, chore)
    started.start()
    try:
        assert started.submit("a").result(WAIT_S) == "A"
        assert started.submit("b").result(WAIT_S) == "B"
        assert all_done.wait(WAIT_S)
    finally:
        started.stop()


def test_a_request_that_was_given_up_is_not_committed(ledger: _Ledger, queue: CommitQueue[str, str]) -> None:
    queue.submit("a")
    assert ledger.entered.wait(WAIT_S)
    assert queue.submit("b").cancel()
    last = queue.submit("c")
    ledger.gate.set()
    assert last.result(WAIT_S) == "C"
    assert ledger.groups == [["a"], ["c"]]


def test_what_keeps_it_from_opening_is_raised_by_start(ledger: _Ledger) -> None:
    def fail() -> None:
        raise OSError("no such disk")

    broken: CommitQueue[str, str] = CommitQueue(ledger.commit, fail, ledger.close)
    with pytest.raises(OSError, match="no such disk"):
        broken.start()
    with pytest.raises(NotRunning):
        broken.submit("a")
    broken.stop()
