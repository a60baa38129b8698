"""One build for all who want the same layer at the same time: each sees its log lines, the last to leave ends it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from flashtrial.process.environment import Environment
from flashtrial.worker.log_streamer import SharedLines, streaming_to


@dataclass(slots=True)
class _Build:
    task: asyncio.Task[Environment]
    lines: SharedLines
    waiters: int = field(default=0)


class SharedBuilds:
    """The builds under way in this process, by key. One event loop at a time."""

    def __init__(self) -> None:
        self._builds: dict[str, _Build] = {}

    async def join(self, key: str, build: Callable[[], Coroutine[Any, Any, Environment]]) -> Environment:
        """What the one build of that key gives; `build` starts it where there is none. Raises what the build raises.

        Cancelled, it ends the build unless others wait for the same.
        """
        joined = self._builds.get(key)
        if joined is None:
            lines = SharedLines()
            joined = self._builds[key] = _Build(asyncio.create_task(_logged(build, lines)), lines)
        joined.waiters += 1
        try:
            with joined.lines.followed():
                return await asyncio.shield(joined.task)
        finally:
            joined.waiters -= 1
            if not joined.waiters:
                self._builds.pop(key)
                joined.task.cancel()
                await asyncio.gather(joined.task, return_exceptions=True)


async def _logged(build: Callable[[], Coroutine[Any, Any, Environment]], lines: SharedLines) -> Environment:
    with streaming_to(lines):
        return await build()
