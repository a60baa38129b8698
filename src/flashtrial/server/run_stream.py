"""The event stream of one run: its row, new points and new lines, told when the run changed.

Points come from the last step told on, that one included, so that a listener who keeps points by step has the curve;
a listener that is slow gets fewer and larger events. Reading is done on a thread.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from flashtrial.server import views
from flashtrial.server.events import LISTENING, STILL_HERE, EventHub, event
from flashtrial.server.series_views import SeriesQuery, curve


@dataclass(slots=True)
class RunWatch:
    """What a listener asked for, and how far it was told."""

    run_id: str
    names: tuple[str, ...] = ()
    console_after: int = 0
    _last_steps: dict[str, int] = field(default_factory=dict)

    def news(self, db_path: Path) -> list[bytes]:
        """The events since the last time; not for two threads at once."""
        run = views.read_run(db_path, self.run_id)
        if run is None:
            return [event("removed", {"run_id": self.run_id})]
        return [event("run", run), *self._points(db_path), *self._lines(db_path)]

    def _points(self, db_path: Path) -> list[bytes]:
        told = []
        for name in self.names:
            last = self._last_steps.get(name)
            points = curve(db_path, SeriesQuery(self.run_id, name, start=last))
            if points and (last is None or len(points) > 1):
                self._last_steps[name] = points[-1][0]
                told.append(event("metrics", {"name": name, "points": points}))
        return told

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
