"""Fewer points that draw the same curve: both ends, and the lowest and highest of each stretch between."""

import numpy as np
import numpy.typing as npt

from flashtrial.server.storage.columns import Float64
from flashtrial.server.storage.summary import extremes

MIN_POINTS = 4


def downsample(values: Float64, limit: int, weights: Float64 | None = None) -> npt.NDArray[np.intp]:
    """Where at most `limit` (4 or more) of `values` stand, ascending, that draw the same curve.

    The first, the last, the lowest and the highest are among them. A stretch of NaN alone keeps one, so that a curve
    that went to NaN is seen to. Stretches are equal in the sum of their `weights`: how many points a value stands for
    (> 0); one each unless told otherwise.
    """
    if len(values) <= limit:
        return np.arange(len(values))
    inner = values[1:-1]
    starts = 1 + _stretches(len(inner), (limit - 2) // 2, None if weights is None else weights[1:-1])
    lows, highs = extremes(inner, starts - 1)
    return np.unique(np.concatenate([[0], lows + 1, highs + 1, [len(values) - 1]]))


def _stretches(count: int, wanted: int, weights: Float64 | None) -> npt.NDArray[np.intp]:
    """Where at most `wanted` stretches of `count` values begin."""
    if weights is None:
        return np.unique(np.arange(wanted) * count // wanted)
    before = np.cumsum(weights) - weights
    targets = np.arange(wanted) * (before[-1] + weights[-1]) / wanted
    starts = np.unique(np.searchsorted(before, targets))
    starts = starts[starts < count]
    starts[0] = 0
    return starts
