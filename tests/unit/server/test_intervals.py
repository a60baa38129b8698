"""Interval sets behave as sets of integers do, and survive their own encoding."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.server.intervals import DamagedIntervals, IntervalSet

numbers = st.lists(st.integers(0, 60) | st.integers(0, 2**63 - 1))


@given(numbers, st.integers(0, 61))
def test_an_interval_set_is_a_set(added: list[int], asked: int) -> None:
    found, model = IntervalSet(), set[int]()
    for number in added:
        assert found.add(number) == (number not in model)
        model.add(number)
    assert len(found) == len(model)
    assert (asked in found) == (asked in model)
    assert found.highest == max(model, default=0)


@given(numbers)
def test_its_intervals_are_ascending_and_never_touch(added: list[int]) -> None:
    intervals = list(IntervalSet(added).intervals())
    assert all(first <= last for first, last in intervals)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(intervals))


@given(numbers)
def test_the_order_of_adding_does_not_matter(added: list[int]) -> None:
    assert IntervalSet(added) == IntervalSet(sorted(added))


@given(numbers)
def test_encoding_round_trips(added: list[int]) -> None:
    found = IntervalSet(added)
    assert IntervalSet.decode(found.encode()) == found


def test_an_unbroken_million_is_a_handful_of_bytes() -> None:
    assert len(IntervalSet(range(1, 1_000_001)).encode()) <= 4


@given(st.binary(max_size=12))
def test_foreign_bytes_are_refused_or_are_an_encoding(data: bytes) -> None:
    try:
        found = IntervalSet.decode(data)
    except DamagedIntervals:
        return
    assert IntervalSet.decode(found.encode()) == found


@pytest.mark.parametrize("data", [b"\x01", b"\x81", b"\x01\x00\x01\x00"])
def test_a_cut_or_touching_encoding_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedIntervals):
        IntervalSet.decode(data)
