"""Commands as they come and go, for server-sent events: to the controller what waits, to dashboards every move."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from flashtrial.protocol.control import CommandState
from flashtrial.server.control import control_views
from flashtrial.server.control.command_rows import CommandRow
from flashtrial.server.control.control_views import Page
from flashtrial.server.control.desk import ControlDesk
from flashtrial.server.control.epochs import Denied, Post

TOLD_AT_FIRST = Page(limit=100)


async def inbox_stream(desk: ControlDesk, post: Post) -> AsyncIterator[list[CommandRow] | Denied]:
    """The commands that wait, each once; an empty list now and then. Ends with the reason once the post is lost."""
    after = 0
    with desk.presence.listening(post):
        async with aclosing(_moves_in(desk, post.experiment)) as moves:
            async for moved in moves:
                found = await desk.look_into(post, after) if moved else []
                if isinstance(found, Denied):
                    yield found
                    return
                if found or not moved:
                    after = found[-1].number if found else after
                    yield found


async def command_stream(desk: ControlDesk, experiment: int) -> AsyncIterator[list[CommandRow]]:
    """The newest commands of the experiment, then those that are new or were settled; an empty list now and then."""
    told = _Told()
    async with aclosing(_moves_in(desk, experiment)) as moves:
        async for moved in moves:
            if not moved:
                yield []
                continue
            rows = await asyncio.to_thread(control_views.commands, desk.db_path, experiment, TOLD_AT_FIRST, desk.now())
            if news := told.news_in(rows):
                yield news


async def _moves_in(desk: ControlDesk, experiment: int) -> AsyncGenerator[bool, None]:
    """True at once, and whenever something moved in the experiment; False where nothing did for a while."""
    with desk.hub.listen() as changes:
        yield True
        async for keys in changes:
            if not keys or str(experiment) in keys:
                yield bool(keys)


@dataclass(slots=True)
class _Told:
    """The states last told of the newest commands."""

    _states: dict[int, CommandState] = field(default_factory=dict)

    def news_in(self, newest_first: list[CommandRow]) -> list[CommandRow]:
        """What was not told yet, oldest first."""
        news = [row for row in reversed(newest_first) if self._states.get(row.number) is not row.state]
        self._states = {row.number: row.state for row in newest_first}
        return news
