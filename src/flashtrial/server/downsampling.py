"""Fewer points that draw the same curve: both ends, and the lowest and highest of each stretch between."""

import math
from collections.abc import Sequence
from typing import TypeAlias

Point: TypeAlias = "tuple[int, int, float]"  # step, time in ms, value (NaN and infinities included)

MIN_POINTS = 4


def downsample(points: Sequence[Point], limit: int) -> Sequence[Point]:
    """At most `limit` (4 or more) of `points`, in their order.

    The first, the last, the global lowest and the global highest are among them. A stretch of NaN alone keeps one, so
    that a curve that went to NaN is seen to.
    """
    if len(points) <= limit:
        return points
    buckets = (limit - 2) // 2
    inner = len(points) - 2
    kept = [points[0]]
    for bucket in range(buckets):
        start, end = 1 + bucket * inner // buckets, 1 + (bucket + 1) * inner // buckets
        kept += _extremes(points[start:end])
    kept.append(points[-1])
    return kept


def _extremes(stretch: Sequence[Point]) -> list[Point]:
    """The lowest and the highest in the order in which they stand; one point when they are the same."""
    numbered = [index for index, point in enumerate(stretch) if not math.isnan(point[2])]
    if not numbered:
        return [stretch[0]]
    lowest = min(numbered, key=lambda index: stretch[index][2])
    highest = max(numbered, key=lambda index: stretch[index][2])
    return [stretch[index] for index in sorted({lowest, highest})]
