"""Which runs a curve lies in: a forked run begins with its parent's curve, as it was when the fork began.

::

    parent, writer 1:   0 … 90 | 40 … 120        the attempt from 40 on began after the fork: it is none of the fork's
    fork behind 60:     0 … 60, then its own 61 …

Where the parent was removed the fork has what it inherited itself (see `flashtrial.server.storage.inheritance`).
"""

import sqlite3
from dataclasses import dataclass

from flashtrial.server.records import SeriesKind
from flashtrial.server.storage.curve_reader import attempts_of, began_ms
from flashtrial.server.storage.curves import Attempt, BlockRef, Piece, Segment, stitched
from flashtrial.server.storage.gaps import Gaps

MAX_FORKS = 32
NOBODY = 0  # the writer of inherited points; keys of writers begin at 1


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A run by its key, the last step that is taken of it, and when (by our clock) what was taken of it was all there.

    Both are None for the run itself.
    """

    run: int
    step: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A series by its name, of this kind or of either, between two steps, both included."""

    name: str
    kind: SeriesKind | None
    low: int
    high: int

    @property
    def kinds(self) -> tuple[SeriesKind, SeriesKind]:
        """Which kinds will do, the better one first."""
        first, last = (self.kind, self.kind) if self.kind else SeriesKind
        return first, last


def line_of(connection: sqlite3.Connection, run_id: str) -> list[Ancestor]:
    """The run, and those it was forked from, nearest first, as far as they are read where they lie."""
    line: list[Ancestor] = []
    wanted: str | None = run_id
    step: int | None = None
    until_ms: int | None = None
    while wanted is not None and len(line) < MAX_FORKS:
        row = connection.execute("SELECT number, fork_run, fork_step FROM runs WHERE id = ?", (wanted,)).fetchone()
        if row is None or any(row[0] == known.run for known in line):
            break
        number, wanted, step_of_parent = row
        line.append(Ancestor(number, step, until_ms))
        if connection.execute("SELECT 1 FROM inheritance WHERE run = ? AND has_points", (number,)).fetchone():
            break
        step = step_of_parent
        until_ms = _earlier(until_ms, _began_ms(connection, number))
    return line


def _began_ms(connection: sqlite3.Connection, run: int) -> int | None:
    """When the run's first record was made, by our clock."""
    (found,) = connection.execute(
        "SELECT min(first_ms - ahead_ms) FROM writers WHERE run = ? AND first_ms > 0", (run,)
    ).fetchone()
    return None if found is None else int(found)


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)


def pieces_of(connection: sqlite3.Connection, line: list[Ancestor], wanted: Wanted, gaps: Gaps) -> list[Piece]:
    """What is seen of a series along the line."""
    pieces: list[Piece] = []
    high = wanted.high
    for ancestor in line:
        high = high if ancestor.step is None else min(high, ancestor.step)
        number = series_of(connection, ancestor.run, wanted)
        if number is not None:
            own, begins = stitched(generations(connection, ancestor, number, gaps), wanted.low, high)
            pieces += own
            high = min(high, begins - 1)
    if line:
        pieces += _inherited(connection, line[-1].run, wanted, high)
    return pieces


def series_of(connection: sqlite3.Connection, run: int, wanted: Wanted) -> int | None:
    """The key of the run's own series."""
    row = connection.execute(
        "SELECT number FROM series WHERE run = ? AND name = ? AND kind IN (?, ?) ORDER BY kind LIMIT 1",
        (run, wanted.name, *wanted.kinds),
    ).fetchone()
    return None if row is None else int(row[0])


def _inherited(connection: sqlite3.Connection, run: int, wanted: Wanted, high: int) -> list[Piece]:
    """What the run has itself of the curve of runs that are no more."""
    rows = connection.execute(
        "SELECT number, points, first_step, last_step FROM inherited WHERE run = ?1 AND name = ?2 AND kind = "
        "(SELECT min(kind) FROM inherited WHERE run = ?1 AND name = ?2 AND kind IN (?3, ?4)) ORDER BY number",
        (run, wanted.name, *wanted.kinds),
    )
    return [
        Piece(NOBODY, Segment(first_step, last_step, BlockRef(number, points, is_inherited=True)), wanted.low, high)
        for number, points, first_step, last_step in rows
        if last_step >= wanted.low and first_step <= high
    ]


def generation_of_writers(connection: sqlite3.Connection, run_id: str) -> dict[int, int]:
    """To which generation of the run each of its writers belongs; later records can tell otherwise."""
    row = connection.execute("SELECT number FROM runs WHERE id = ?", (run_id,)).fetchone()
    return {} if row is None else _Order.of(connection, Ancestor(row[0])).places


def generations(
    connection: sqlite3.Connection, ancestor: Ancestor, series: int, gaps: Gaps
) -> list[dict[int, list[Attempt]]]:
    """The attempts of each writer of the series, in the generations of the run, oldest first.

    Of a run that is read for a fork those alone that had begun by then.
    """
    by_writer = attempts_of(connection, series, gaps)
    order = _Order.of(connection, ancestor)
    found: list[dict[int, list[Attempt]]] = [{} for _ in range(order.generations)]
    for writer, own in by_writer.items():
        place = order.places[writer]
        if place < order.generations:
            found[place][writer] = order.begun(connection, writer, own, gaps)
    return found


@dataclass(frozen=True, slots=True)
class _Order:
    """To which generation each writer of a run belongs, how many of them count, and how far each clock is ahead.

    An owner that goes on with the run begins a new one. Everybody else belongs to the newest that began before it fell
    silent: a rank may open its journal before the owner does.
    """

    places: dict[int, int]
    generations: int
    ahead_ms: dict[int, int]
    until_ms: int | None

    @classmethod
    def of(cls, connection: sqlite3.Connection, ancestor: Ancestor) -> "_Order":
        rows: list[tuple[int, str, int, int, int, int]] = connection.execute(
            "SELECT number, id, first_ms - ahead_ms, last_ms - ahead_ms, resumed, ahead_ms FROM writers WHERE run = ?",
            (ancestor.run,),
        ).fetchall()
        # Of two times that are equal the id decides: a writer's key says who was heard first, and that must not matter.
        begins = sorted((first_ms, each) for _, each, first_ms, _, resumed, _ in rows if resumed)
        places = {
            number: sum(begin <= ((first_ms if resumed else last_ms), each) for begin in begins)
            for number, each, first_ms, last_ms, resumed, _ in rows
        }
        counted = [begin for begin in begins if ancestor.until_ms is None or begin[0] <= ancestor.until_ms]
        oldest = min(places.values(), default=0)  # of a run that only goes on with another there is no first
        ahead_ms = {row[0]: row[5] for row in rows}
        return cls(places, max(len(counted), oldest) + 1, ahead_ms, ancestor.until_ms)

    def begun(self, connection: sqlite3.Connection, writer: int, own: list[Attempt], gaps: Gaps) -> list[Attempt]:
        """The first attempt of a writer, and the later ones that had begun by then."""
        if self.until_ms is None:
            return own
        until_ms = self.until_ms + self.ahead_ms[writer]
        times_ms = (began_ms(connection, attempt, gaps) for attempt in own[1:])
        later = [attempt for attempt, ms in zip(own[1:], times_ms, strict=True) if ms is not None and ms <= until_ms]
        return [*own[:1], *later]
