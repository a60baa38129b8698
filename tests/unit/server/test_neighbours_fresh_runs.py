"""Which requests to make a run are the same request again: those whose answer nobody heard."""

import asyncio
from itertools import count

import pytest

from flashtrial.server.neighbours import fresh_runs
from flashtrial.server.neighbours.fresh_runs import SENT_AGAIN_WITHIN_S, Asking, FreshRuns
from flashtrial.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def client(*, is_gone: bool) -> Asking:
    async def answer() -> bool:
        return is_gone

    return answer


HERE, GONE = client(is_gone=False), client(is_gone=True)


class Asked:
    """Makes runs that are numbered, one request at a time."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fresh = FreshRuns(self.clock)
        self.deleted: set[str] = set()
        self._ids = map(str, count(1))

    def begin(self, body: bytes, is_gone: Asking) -> str:
        return asyncio.run(self.fresh.begin(body, self._ids.__next__, is_gone, self._is_deleted))

    def whole(self, body: bytes, is_gone: Asking, *, is_good: bool = True) -> str:
        run_id = self.begin(body, is_gone)
        asyncio.run(self.fresh.end(body, run_id, is_good=is_good))
        return run_id

    async def _is_deleted(self, run_id: str) -> bool:
        return run_id in self.deleted


def test_who_heard_the_answer_asks_for_another_run() -> None:
    asked = Asked()
    assert [asked.whole(b"a", HERE), asked.whole(b"a", HERE), asked.whole(b"b", HERE)] == ["1", "2", "3"]


def test_who_left_before_the_answer_gets_the_same_run_until_it_is_heard_of() -> None:
    asked = Asked()
    assert [asked.whole(b"a", GONE), asked.whole(b"a", GONE), asked.whole(b"a", HERE)] == ["1", "1", "1"]
    assert asked.whole(b"a", HERE) == "2"


def test_who_was_told_of_a_fault_gets_the_same_run() -> None:
    asked = Asked()
    assert [asked.whole(b"a", HERE, is_good=False), asked.whole(b"a", HERE)] == ["1", "1"]


def test_of_two_at_once_the_second_is_another_unless_the_first_has_left() -> None:
    asked = Asked()
    assert [asked.begin(b"a", HERE), asked.begin(b"a", GONE), asked.begin(b"a", HERE)] == ["1", "2", "2"]


def test_who_comes_when_nobody_sends_it_again_any_more_gets_another_run() -> None:
    asked = Asked()
    assert [asked.whole(b"a", GONE), asked.whole(b"b", GONE)] == ["1", "2"]
    asked.clock.advance(SENT_AGAIN_WITHIN_S - 1)
    assert asked.whole(b"a", GONE) == "1"
    asked.clock.advance(2)
    assert [asked.whole(b"a", GONE), asked.whole(b"b", GONE)] == ["1", "3"]


def test_a_run_that_was_deleted_meanwhile_is_not_handed_out() -> None:
    asked = Asked()
    assert asked.whole(b"a", GONE) == "1"
    asked.deleted.add("1")
    assert [asked.whole(b"a", GONE), asked.whole(b"a", GONE)] == ["2", "2"]


def test_a_client_is_asked_no_more_once_its_answer_is_ready() -> None:
    async def asked_again() -> bool:
        raise AssertionError

    asked = Asked()
    run_id = asked.begin(b"a", asked_again)
    asyncio.run(asked.fresh.end(b"a", run_id, is_good=False))
    assert asked.whole(b"a", HERE) == run_id


def test_no_more_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_runs, "MOST", 2)
    asked = Asked()
    assert [asked.whole(body, GONE) for body in (b"a", b"b", b"c")] == ["1", "2", "3"]
    assert [asked.whole(b"c", GONE), asked.whole(b"a", GONE)] == ["3", "4"]
