"""The lowest and the highest point of every 128 in a block: what a chart of many blocks is drawn from.

Kept beside the block, uncompressed, as rows of two points each in the order in which they stand, so that the summaries
of many blocks are read as one array.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from flashtrial.server.storage.columns import Columns, Float64, encode_rows

Places: TypeAlias = npt.NDArray[np.intp]

BUCKET_POINTS = 128


def summary_of(columns: Columns) -> bytes:
    """Two points of each stretch of 128: lowest and highest, NaN left aside; the first twice where all is NaN."""
    starts = np.arange(0, len(columns), BUCKET_POINTS)
    lows, highs = extremes(columns.values, starts)
    pairs = np.column_stack([np.minimum(lows, highs), np.maximum(lows, highs)]).ravel()
    return encode_rows(columns[pairs])


def extremes(values: Float64, starts: "Places") -> "tuple[Places, Places]":
    """Where the lowest and the highest value stand of each stretch that begins at one of `starts` (ascending, from 0).

    NaN is neither, unless there is nothing else: then both are the first of the stretch.
    """
    return _first_of(np.fmin, values, starts), _first_of(np.fmax, values, starts)


def _first_of(
    choose: np.ufunc,
    values: Float64,
    starts: "Places",
) -> "Places":
    best = choose.reduceat(values, starts)
    stretch = np.zeros(len(values), np.intp)
    stretch[starts[1:]] = 1
    stretch = np.cumsum(stretch)
    hits = np.flatnonzero((values == best[stretch]) | np.isnan(best)[stretch])
    _, first = np.unique(stretch[hits], return_index=True)
    return hits[first]
