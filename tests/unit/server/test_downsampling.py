"""Fewer points, the same curve."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.server.downsampling import MIN_POINTS, downsample
from flashtrial.server.storage.columns import Float64

curves = st.lists(st.floats(), max_size=300).map(lambda values: np.array(values, np.float64))
weights = st.integers(1, 100)


@given(curves, st.integers(MIN_POINTS, 50))
def test_never_more_than_asked_for_and_all_from_the_curve_in_order(curve: Float64, limit: int) -> None:
    places = downsample(curve, limit).tolist()
    assert len(places) <= limit
    assert places == sorted(set(places))
    assert set(places) <= set(range(len(curve)))


@given(curves, st.integers(MIN_POINTS, 50), st.data())
def test_both_ends_and_the_extremes_stay_whatever_the_points_weigh(
    curve: Float64, limit: int, data: st.DataObject
) -> None:
    weighed = np.array(data.draw(st.lists(weights, min_size=len(curve), max_size=len(curve))), np.float64)
    for places in (downsample(curve, limit), downsample(curve, limit, weighed)):
        assert len(places) <= limit
        assert places[:1].tolist() + places[-1:].tolist() == ([0, len(curve) - 1] if len(curve) else [])
        numbers = curve[~np.isnan(curve)].tolist()
        if numbers:
            assert {min(numbers), max(numbers)} <= set(curve[places].tolist())


def test_a_short_curve_is_left_alone() -> None:
    assert downsample(np.arange(10.0), 10).tolist() == list(range(10))


def test_a_single_spike_in_a_million_points_is_seen() -> None:
    curve = np.zeros(1_000_000)
    curve[654_321] = 1e9
    assert 654_321 in downsample(curve, 100)


def test_a_curve_that_went_to_nan_is_seen_to() -> None:
    curve = np.array([1.0] * 50 + [math.nan] * 50)
    assert np.isnan(curve[downsample(curve, 10)]).sum() == 3
