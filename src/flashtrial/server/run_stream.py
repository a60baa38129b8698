"""The event stream of one run: its row, new points and new lines, told when the run changed.

Points come from the last step told on, that one included, so that a listener who keeps points by step has the curve.
Where some came further back, as in a new epoch or after a restored checkpoint, or where the run has other writers than
before, the whole curve comes again; a listener that is slow gets fewer and larger events. Every line is told, a
thousand to an event, whose id is that of its last line: who comes back with it as ``Last-Event-ID`` misses none.
Reading is done on a thread.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from flashtrial.server import views
from flashtrial.server.events import LISTENING, STILL_HERE, EventHub, event
from flashtrial.server.series_views import PointView, SeriesQuery, points_of, seen
from flashtrial.server.storage.lineage import generation_of_writers
from flashtrial.server.storage.reading import reading
from flashtrial.server.views import MAX_PAGE, ConsoleQuery


@dataclass(frozen=True, slots=True)
class _Told:
    """How far a curve was told: its last step, how many points stand there, and how many the series had."""

    step: int
    at_step: int
    count: int | None


@dataclass(slots=True)
class RunWatch:
    """What a listener asked for, and how far it was told.

    `has_more` while there are lines that one event did not hold.
    """

    run_id: str
    names: tuple[str, ...] = ()
    console_after: int = 0
    has_more: bool = False
    _told: dict[str, _Told] = field(default_factory=dict)
    _generations: dict[int, int] = field(default_factory=dict)

    def news(self, db_path: Path) -> list[bytes]:
        """The events since the last time; not for two threads at once."""
        with reading(db_path) as connection:
            run = views.run_detail(connection, self.run_id)
            if run is None:
                self.has_more = False
                return [event("removed", {"run_id": self.run_id})]
            self._look_at_writers(connection)
            curves = [(name, self._points(connection, name, run["points"].get(name))) for name in self.names]
            told = [event("metrics", {"name": name, "points": points}) for name, points in curves if points]
            return [event("run", run), *told, *self._lines(connection)]

    def more_lines(self, db_path: Path) -> list[bytes]:
        """The next lines, where one event did not hold them all."""
        with reading(db_path) as connection:
            return self._lines(connection)

    def _look_at_writers(self, connection: sqlite3.Connection) -> None:
        """Begin every curve anew where other points may be seen: a generation has begun, or takes a writer over."""
        before, self._generations = self._generations, generation_of_writers(connection, self.run_id)
        if before != self._generations:
            self._told.clear()

    def _points(self, connection: sqlite3.Connection, name: str, count: int | None) -> list[PointView]:
        """The news of one series, of which there are `count` points (None: not counted); none where nothing is new."""
        before = self._told.get(name)
        start = before.step if before else None
        points = points_of(seen(connection, SeriesQuery(self.run_id, name, start)))
        if before is not None:
            new = len(points) - before.at_step
            if new < (count or 0) - (before.count or 0):  # some stand further back: an epoch, a restored checkpoint
                points = points_of(seen(connection, SeriesQuery(self.run_id, name)))
            elif new <= 0:
                return []
        if points:
            last = points[-1][0]
            self._told[name] = _Told(last, sum(step == last for step, *_ in points), count)
        return points

    def _lines(self, connection: sqlite3.Connection) -> list[bytes]:
        """One event, whose id is that of its last line."""
        lines = views.lines_of(connection, ConsoleQuery(self.run_id, self.console_after))
        self.has_more = len(lines) == MAX_PAGE
        if not lines:
            return []
        self.console_after = lines[-1]["id"]
        return [event("console", {"lines": lines, "next": self.console_after}, self.console_after)]


async def run_events(db_path: Path, hub: EventHub, watch: RunWatch) -> AsyncIterator[bytes]:
    """The bytes of the stream, until the hub is closed or the listener goes away."""
    with hub.listen() as changes:
        yield LISTENING
        async for block in _all_news(db_path, hub, watch):
            yield block
        async for run_ids in changes:
            if watch.run_id in run_ids:
                async for block in _all_news(db_path, hub, watch):
                    yield block
            elif not run_ids:
                yield STILL_HERE


async def _all_news(db_path: Path, hub: EventHub, watch: RunWatch) -> AsyncIterator[bytes]:
    """The news, then what more lines there are: whoever is told of a change is told all of it."""
    for block in await asyncio.to_thread(watch.news, db_path):
        yield block
    while watch.has_more and not hub.is_closing:
        for block in await asyncio.to_thread(watch.more_lines, db_path):
            yield block
