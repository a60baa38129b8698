"""Remembered answers."""

from hypothesis import given
from hypothesis import strategies as st

from flashtrial.worker.loop.result_memo import ResultMemo


def test_an_answer_is_remembered_also_when_the_platform_has_it() -> None:
    memo = ResultMemo()
    memo.keep("a", b"answer", is_failure=False)
    memo.was_delivered("a")
    assert memo.get("a") == b"answer"
    assert memo.get("b") is None


def test_a_failure_is_remembered_only_until_the_platform_has_it() -> None:
    memo = ResultMemo()
    memo.keep("a", b"failure", is_failure=True)
    assert memo.get("a") == b"failure"
    memo.was_delivered("a")
    assert memo.get("a") is None


def test_the_oldest_go_first() -> None:
    memo = ResultMemo(most_answers=2)
    for job_id in "abc":
        memo.keep(job_id, job_id.encode(), is_failure=False)
    assert [memo.get(job_id) for job_id in "abc"] == [None, b"b", b"c"]


def test_an_answer_larger_than_all_room_is_not_kept() -> None:
    memo = ResultMemo(most_bytes=10)
    memo.keep("a", b"x" * 11, is_failure=False)
    memo.keep("b", b"x" * 10, is_failure=False)
    assert (memo.get("a"), memo.get("b")) == (None, b"x" * 10)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=8), st.booleans(), st.booleans())))
def test_what_is_kept_stays_within_its_bounds(moves: list[tuple[str, bytes, bool, bool]]) -> None:
    memo = ResultMemo(most_answers=3, most_bytes=16)
    for job_id, body, is_failure, is_delivered in moves:
        memo.keep(job_id, body, is_failure=is_failure)
        if is_delivered:
            memo.was_delivered(job_id)
        kept = [found for one in "abcdef" if (found := memo.get(one)) is not None]
        assert len(kept) <= 3
        assert sum(map(len, kept)) <= 16
        assert memo.get(job_id) == (None if is_failure and is_delivered else body)
