"""The event stream of one run: its row, new points and new lines, told when the run changed.

Points come from the last step told on, that one included, so that a listener who keeps points by step has the curve.
Where some came further back, as in a new epoch or after a restored checkpoint, the whole curve comes again;
a listener that is slow gets fewer and larger events. Reading is done on a thread.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from flashtrial.server import views
from flashtrial.server.events import LISTENING, STILL_HERE, EventHub, event
from flashtrial.server.series_views import PointView, SeriesQuery, curve


@dataclass(frozen=True, slots=True)
class _Told:
    """How far a curve was told: its last step, how many points stand there, and how many the series had."""

    step: int
    at_step: int
    count: int | None


@dataclass(slots=True)
class RunWatch:
    """What a listener asked for, and how far it was told."""

    run_id: str
    names: tuple[str, ...] = ()
    console_after: int = 0
    _told: dict[str, _Told] = field(default_factory=dict)

    def news(self, db_path: Path) -> list[bytes]:
        """The events since the last time; not for two threads at once."""
        run = views.read_run(db_path, self.run_id)
        if run is None:
            return [event("removed", {"run_id": self.run_id})]
        curves = [(name, self._points(db_path, name, run["points"].get(name))) for name in self.names]
        told = [event("metrics", {"name": name, "points": points}) for name, points in curves if points]
        return [event("run", run), *told, *self._lines(db_path)]

    def _points(self, db_path: Path, name: str, count: int | None) -> list[PointView]:
        """The news of one series, of which there are `count` points (None: not counted); none where nothing is new."""
        before = self._told.get(name)
        points = curve(db_path, SeriesQuery(self.run_id, name, start=before.step if before else None))
        if before is not None:
            new = len(points) - before.at_step
            if new < (count or 0) - (before.count or 0):  # some stand further back: an epoch, a restored checkpoint
                points = curve(db_path, SeriesQuery(self.run_id, name))
            elif new <= 0:
                return []
        if points:
            last = points[-1][0]
            self._told[name] = _Told(last, sum(step == last for step, *_ in points), count)
        return points

    def _lines(self, db_path: Path) -> list[bytes]:
        lines = views.console_lines(db_path, self.run_id, after=self.console_after)
        if not lines:
            return []
        self.console_after = lines[-1]["id"]
        return [event("console", {"lines": lines, "next": self.console_after})]


async def run_events(db_path: Path, hub: EventHub, watch: RunWatch) -> AsyncIterator[bytes]:
    """The bytes of the stream, until the hub is closed or the listener goes away."""
    with hub.listen() as changes:
        yield LISTENING
        for block in await asyncio.to_thread(watch.news, db_path):
            yield block
        async for run_ids in changes:
            if watch.run_id in run_ids:
                for block in await asyncio.to_thread(watch.news, db_path):
                    yield block
            elif not run_ids:
                yield STILL_HERE
