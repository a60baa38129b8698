"""Curves out of what writers logged: which points of which attempt are seen.

::

    writer 1, by sequence number:   steps 0 … 90 | 50 … 120            an attempt ends where a step goes back
    writer 2, opened `resumed`:                     100 … 300          a later generation of the run
    seen:                           0 … 49, 50 … 99, 100 … 300

Pure. Writers of one generation (ranks, forked children) are not attempts of each other: their points stand side by
side. A later generation takes the place of earlier points from its own first step on. So does a later attempt of a
writer that goes back to the middle, as after a restored checkpoint. One that goes back to where the writer began, or
beyond, is another round (an epoch whose steps begin anew) and stands beside the rounds before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flashtrial.server.storage.columns import Columns

MIN_STEP = -(2**63)
MAX_STEP = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A sealed block that nobody has read yet: the run's own, or of the curve that a fork inherited."""

    number: int
    points: int
    is_inherited: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one writer's points in which no step goes back, read or not."""

    first_step: int
    last_step: int
    source: Columns | BlockRef

    @property
    def points(self) -> int:
        return len(self.source) if isinstance(self.source, Columns) else self.source.points


@dataclass(frozen=True, slots=True)
class Attempt:
    """Stretches of one writer, in the order logged, of which each begins where the one before ended or further on."""

    segments: tuple[Segment, ...]

    @property
    def first_step(self) -> int:
        return self.segments[0].first_step

    @property
    def opening(self) -> Columns | BlockRef:
        """Where its first point is."""
        return self.segments[0].source


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a segment that is seen: steps from `low` to `high`, both included."""

    writer: int
    segment: Segment
    low: int
    high: int

    @property
    def block(self) -> BlockRef | None:
        """The block that has to be read for it, if any."""
        return self.segment.source if isinstance(self.segment.source, BlockRef) else None

    @property
    def is_whole(self) -> bool:
        return self.low <= self.segment.first_step and self.segment.last_step <= self.high


def attempts(segments: Iterable[Segment]) -> list[Attempt]:
    """One writer's segments, in the order logged, parted where a step goes back."""
    found: list[list[Segment]] = []
    for segment in segments:
        if found and segment.first_step >= found[-1][-1].last_step:
            found[-1].append(segment)
        else:
            found.append([segment])
    return [Attempt(tuple(each)) for each in found]


def stitched(generations: Sequence[dict[int, list[Attempt]]], low: int, high: int) -> tuple[list[Piece], int]:
    """What is seen of all generations (oldest first; attempts by writer, oldest first) between two steps.

    With it the lowest step at which anything begins: whatever else there is of the curve is seen below it.
    """
    pieces: list[Piece] = []
    begins = MAX_STEP
    for generation in reversed(generations):
        below = min(high, begins - 1)
        for writer, own in generation.items():
            seen, first = _seen_of(writer, own, low, below)
            pieces += seen
            begins = min(begins, first)
    return pieces, begins


def _seen_of(writer: int, own: Sequence[Attempt], low: int, high: int) -> tuple[list[Piece], int]:
    """What is seen of one writer's attempts, and the lowest step at which one begins."""
    pieces: list[Piece] = []
    for of_round in _rounds(own):
        below = high
        seen: list[Piece] = []
        for attempt in reversed(of_round):
            seen = within(writer, attempt, low, below) + seen
            below = min(below, attempt.first_step - 1)
        pieces += seen
    return pieces, min((attempt.first_step for attempt in own), default=MAX_STEP)


def _rounds(own: Sequence[Attempt]) -> list[list[Attempt]]:
    """Attempts by rounds: each begins with one that goes back to where the round before began, or beyond."""
    rounds: list[list[Attempt]] = []
    for attempt in own:
        if rounds and attempt.first_step > rounds[-1][0].first_step:
            rounds[-1].append(attempt)
        else:
            rounds.append([attempt])
    return rounds


def within(writer: int, attempt: Attempt, low: int, high: int) -> list[Piece]:
    """The parts of an attempt between two steps, both included."""
    return [
        Piece(writer, segment, low, high)
        for segment in attempt.segments
        if segment.last_step >= low and segment.first_step <= high
    ]
