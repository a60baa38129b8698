"""Fewer points, the same curve."""

import math

from hypothesis import given
from hypothesis import strategies as st

from flashtrial.server.downsampling import MIN_POINTS, Point, downsample

curves = st.lists(st.floats(), max_size=300).map(
    lambda values: [(step, 1000 + step, value) for step, value in enumerate(values)]
)


@given(curves, st.integers(MIN_POINTS, 50))
def test_never_more_than_asked_for_and_all_from_the_curve_in_order(curve: list[Point], limit: int) -> None:
    steps = [step for step, _, _ in downsample(curve, limit)]
    assert len(steps) <= limit
    assert steps == sorted(set(steps))
    assert set(steps) <= set(range(len(curve)))


@given(curves, st.integers(MIN_POINTS, 50))
def test_both_ends_and_the_extremes_stay(curve: list[Point], limit: int) -> None:
    kept = downsample(curve, limit)
    assert [point[0] for point in (*kept[:1], *kept[-1:])] == [point[0] for point in (*curve[:1], *curve[-1:])]
    numbers = [value for _, _, value in curve if not math.isnan(value)]
    if numbers:
        assert {min(numbers), max(numbers)} <= {value for _, _, value in kept}


def test_a_short_curve_is_left_alone() -> None:
    curve = [(step, step, float(step)) for step in range(10)]
    assert downsample(curve, 10) == curve


def test_a_single_spike_in_a_million_points_is_seen() -> None:
    curve = [(step, step, 1e9 if step == 654_321 else 0.0) for step in range(1_000_000)]
    assert (654_321, 654_321, 1e9) in downsample(curve, 100)


def test_a_curve_that_went_to_nan_is_seen_to() -> None:
    curve = [(step, step, 1.0 if step < 50 else math.nan) for step in range(100)]
    assert sum(math.isnan(value) for _, _, value in downsample(curve, 10)) == 3
