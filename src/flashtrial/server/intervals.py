"""Sets of sequence numbers kept as intervals: one writer's whole history is a few bytes when nothing is missing."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator


class DamagedIntervals(ValueError):
    """Raised when bytes are not the encoding of an interval set."""


class IntervalSet:
    """A mutable set of whole numbers ≥ 0, quick when they come in order. Belongs to one thread.

    Held as disjoint, non-adjacent, ascending intervals with both ends inside: ``_firsts[i] .. _lasts[i]``.
    """

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> bool:
        """Put `number` in; whether it was new."""
        lasts = self._lasts
        if lasts and number == lasts[-1] + 1:  # the usual case: the next in order
            lasts[-1] = number
            return True
        place = bisect_left(lasts, number)
        if place < len(lasts) and self._firsts[place] <= number:
            return False
        self._insert(place, number)
        return True

    def _insert(self, place: int, number: int) -> None:
        """Add a number that lies in no interval; `place` is the first interval that ends after it."""
        firsts, lasts = self._firsts, self._lasts
        joins_before = place > 0 and lasts[place - 1] == number - 1
        joins_after = place < len(firsts) and firsts[place] == number + 1
        if joins_before and joins_after:
            lasts[place - 1] = lasts[place]
            del firsts[place], lasts[place]
        elif joins_before:
            lasts[place - 1] = number
        elif joins_after:
            firsts[place] = number
        else:
            firsts.insert(place, number)
            lasts.insert(place, number)

    def __contains__(self, number: int) -> bool:
        place = bisect_left(self._lasts, number)
        return place < len(self._lasts) and self._firsts[place] <= number

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.intervals())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntervalSet):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"IntervalSet({', '.join(f'{first}..{last}' for first, last in self.intervals())})"

    @property
    def highest(self) -> int:
        """The greatest member; 0 of the empty set."""
        return self._lasts[-1] if self._lasts else 0

    def intervals(self) -> Iterator[tuple[int, int]]:
        """The intervals in ascending order, both ends inside."""
        return zip(self._firsts, self._lasts, strict=True)

    @classmethod
    def of(cls, intervals: Iterable[tuple[int, int]]) -> "IntervalSet":
        """The set of `intervals`, both ends inside, in ascending order. Raises `DamagedIntervals` for others."""
        found = cls()
        for first, last in intervals:
            if not 0 <= first <= last or (found._firsts and first < found.highest + 2):
                raise DamagedIntervals("intervals ascend, and none touches another")
            found._firsts.append(first)
            found._lasts.append(last)
        return found

    def covers(self, other: "IntervalSet") -> bool:
        """Whether each member of `other` is one of this set."""
        for first, last in other.intervals():
            place = bisect_left(self._lasts, last)
            if place == len(self._lasts) or self._firsts[place] > first:
                return False
        return True

    def encode(self) -> bytes:
        """LEB128 numbers: for each interval the distance from the end of the one before, and its length less one."""
        out = bytearray()
        position = 0
        for first, last in self.intervals():
            _write_number(out, first - position)
            _write_number(out, last - first)
            position = last
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> "IntervalSet":
        """The inverse of `encode`. Raises `DamagedIntervals` for what `encode` cannot have written."""
        numbers = list(_read_numbers(data))
        if len(numbers) % 2:
            raise DamagedIntervals("an interval lacks its length")
        found = cls()
        position = 0
        for distance, length in zip(numbers[::2], numbers[1::2], strict=True):
            if found._firsts and distance < 2:
                raise DamagedIntervals("two intervals touch or overlap")
            found._firsts.append(position + distance)
            position += distance + length
            found._lasts.append(position)
        return found


def _write_number(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _read_numbers(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0
    if shift:
        raise DamagedIntervals("the last number is cut off")
