"""Points as columns, and the bytes in which they are kept.

An open tail keeps rows as they came, 32 bytes a point, so that appending is an insert and nothing is read. A sealed
block keeps columns: sequence numbers, steps and times as differences, values as they are, the bytes of equal weight
beside each other, and all of it compressed, with a checksum (blocks of before 2026-11 have none). Both keep every bit
of a value; all kinds of NaN are one NaN.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import zstandard

Int64: TypeAlias = npt.NDArray[np.int64]
Float64: TypeAlias = npt.NDArray[np.float64]

ROW = np.dtype([("seq", "<i8"), ("step", "<i8"), ("time_ms", "<i8"), ("value", "<f8")])
FORMAT = b"\x01"
_LEVEL = 3
_WIDTH = 8  # bytes of one number in each of the four columns


class DamagedBlock(ValueError):
    """Raised when bytes are not a block, or hold another number of points than they should."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Points of one series by one writer; arrays of one length, that nobody changes. Times are in ms."""

    seqs: Int64
    steps: Int64
    times_ms: Int64
    values: Float64

    def __len__(self) -> int:
        return len(self.seqs)

    def __getitem__(self, where: "slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]") -> "Columns":
        return Columns(self.seqs[where], self.steps[where], self.times_ms[where], self.values[where])

    @property
    def is_ascending(self) -> bool:
        """Whether no step is lower than the one before."""
        return bool(np.all(self.steps[1:] >= self.steps[:-1]))

    def by_seq(self) -> "Columns":
        """The same points in the order in which they were logged."""
        if np.all(self.seqs[1:] > self.seqs[:-1]):
            return self
        return self[np.argsort(self.seqs, kind="stable")]

    def ascents(self) -> "Iterator[Columns]":
        """The longest stretches in which no step goes back."""
        ends = np.flatnonzero(self.steps[1:] < self.steps[:-1]) + 1
        for first, last in zip([0, *ends], [*ends, len(self)], strict=True):
            yield self[int(first) : int(last)]


_NONE = np.empty(0, np.int64)
EMPTY = Columns(_NONE, _NONE, _NONE, np.empty(0, np.float64))


def columns_of(rows: Iterable[tuple[int, int, int, float]]) -> Columns:
    """The columns of (seq, step, time_ms, value) rows."""
    return decode_rows(np.array(list(rows), ROW).tobytes())


def joined(parts: Sequence[Columns]) -> Columns:
    """All points of the parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    return Columns(
        np.concatenate([part.seqs for part in parts] or [EMPTY.seqs]),
        np.concatenate([part.steps for part in parts] or [EMPTY.steps]),
        np.concatenate([part.times_ms for part in parts] or [EMPTY.times_ms]),
        np.concatenate([part.values for part in parts] or [EMPTY.values]),
    )


def encode_rows(columns: Columns) -> bytes:
    """The points as an open tail keeps them."""
    rows = np.empty(len(columns), ROW)
    rows["seq"], rows["step"] = columns.seqs, columns.steps
    rows["time_ms"], rows["value"] = columns.times_ms, columns.values
    return rows.tobytes()


def decode_rows(data: bytes) -> Columns:
    """The inverse of `encode_rows`; of several, one after the other, as well. Raises `DamagedBlock`."""
    if len(data) % ROW.itemsize:
        raise DamagedBlock(f"a tail of {len(data)} bytes ends inside a point")
    rows = np.frombuffer(data, ROW)
    return Columns(
        rows["seq"].astype(np.int64),
        rows["step"].astype(np.int64),
        rows["time_ms"].astype(np.int64),
        rows["value"].astype(np.float64),
    )


def encode_block(columns: Columns) -> bytes:
    """The points as a sealed block keeps them."""
    planes = [_planes(_differences(column)) for column in (columns.seqs, columns.steps, columns.times_ms)]
    packed = b"".join([*planes, _planes(columns.values.view(np.int64))])
    return FORMAT + zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(packed)


def decode_block(data: bytes, points: int) -> Columns:
    """The inverse of `encode_block` for a block of `points` points. Raises `DamagedBlock`."""
    size = 4 * _WIDTH * points
    try:
        packed = zstandard.ZstdDecompressor().decompress(data[len(FORMAT) :], max_output_size=size)
    except zstandard.ZstdError as error:
        raise DamagedBlock(f"a block cannot be read: {error}") from error
    if data[: len(FORMAT)] != FORMAT or len(packed) != size:
        raise DamagedBlock(f"a block of {points} points has {len(packed)} bytes, or a format of a newer version")
    numbers = [_numbers(packed[start : start + size // 4], points) for start in range(0, size, max(size // 4, 1))]
    seqs, steps, times_ms, bits = numbers if points else [EMPTY.seqs] * 4
    with np.errstate(over="ignore"):
        return Columns(np.cumsum(seqs), np.cumsum(steps), np.cumsum(times_ms), bits.view(np.float64))


def _differences(column: Int64) -> Int64:
    """The first number, then what each adds to the one before; wraps around, as summing them up again does."""
    with np.errstate(over="ignore"):
        return np.diff(column, prepend=np.int64(0))


def _planes(numbers: Int64) -> bytes:
    """The lowest bytes of all numbers, then the next ones: what varies little lies together."""
    return np.ascontiguousarray(numbers.astype("<i8").view(np.uint8).reshape(-1, _WIDTH).T).tobytes()


def _numbers(planes: bytes, count: int) -> Int64:
    turned = np.frombuffer(planes, np.uint8).reshape(_WIDTH, count).T
    return np.ascontiguousarray(turned).view("<i8").reshape(count).astype(np.int64)
