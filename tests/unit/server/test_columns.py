"""Points keep every bit in tails and blocks; a block's summary has its lows and highs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.server.storage.columns import (
    Columns,
    DamagedBlock,
    columns_of,
    decode_block,
    decode_rows,
    encode_block,
    encode_rows,
)
from flashtrial.server.storage.summary import BUCKET_POINTS, summary_of

int64 = st.integers(-(2**63), 2**63 - 1)
rows = st.lists(st.tuples(int64, int64, int64, st.floats()), max_size=300)


def _bits(columns: Columns) -> list[bytes]:
    return [columns.seqs.tobytes(), columns.steps.tobytes(), columns.times_ms.tobytes(), columns.values.tobytes()]


@given(rows)
def test_blocks_and_tails_give_back_what_was_put_in(points: list[tuple[int, int, int, float]]) -> None:
    columns = columns_of(points)
    assert _bits(decode_block(encode_block(columns), len(columns))) == _bits(columns)
    assert _bits(decode_rows(encode_rows(columns))) == _bits(columns)
    assert columns.seqs.tolist() == [seq for seq, *_ in points]


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02junk", encode_block(columns_of([(1, 1, 1, 1.0)] * 3))])
def test_what_is_no_block_of_two_points_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedBlock):
        decode_block(data, 2)


def test_a_tail_that_ends_inside_a_point_is_damaged() -> None:
    with pytest.raises(DamagedBlock):
        decode_rows(b"\0" * 33)


def test_a_regular_float32_curve_takes_less_than_five_bytes_a_point() -> None:
    rng = np.random.default_rng(1)
    steps = np.arange(4096)
    columns = Columns(steps, steps, 1_700_000_000_000 + 250 * steps, rng.random(4096, np.float32).astype(np.float64))
    assert len(encode_block(columns)) / 4096 < 5


@given(st.lists(st.floats(), min_size=1, max_size=4 * BUCKET_POINTS))
def test_a_summary_has_the_lowest_and_the_highest_of_every_stretch(values: list[float]) -> None:
    columns = columns_of([(seq, seq, seq, value) for seq, value in enumerate(values)])
    summary = decode_rows(summary_of(columns))
    assert len(summary) == 2 * math.ceil(len(values) / BUCKET_POINTS)
    for bucket in range(0, len(values), BUCKET_POINTS):
        numbers = [value for value in values[bucket : bucket + BUCKET_POINTS] if not math.isnan(value)]
        found = summary.values[summary.seqs // BUCKET_POINTS == bucket // BUCKET_POINTS].tolist()
        assert not numbers or {min(numbers), max(numbers)} == set(found)
