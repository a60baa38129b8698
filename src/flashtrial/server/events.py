"""Server-sent events that name what changed; whoever listens asks again for what it shows.

A listener that is slow gets fewer, larger events: what it has not taken yet is one set of run ids, never a queue.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import orjson

MAX_LISTENERS = 256
PAUSE_S = 0.2  # at most five events a second and listener
KEEP_ALIVE_S = 15.0

LISTENING = b"retry: 1000\n: listening\n\n"
STILL_HERE = b": still here\n\n"


class EventHub:
    """Tells listeners which runs changed. Belongs to one event loop; only `publish` may be called from elsewhere."""

    def __init__(
        self, pause_s: float = PAUSE_S, keep_alive_s: float = KEEP_ALIVE_S, max_listeners: int = MAX_LISTENERS
    ) -> None:
        self._pause_s = pause_s
        self._max_listeners = max_listeners
        self._keep_alive_s = keep_alive_s
        self._listeners: set[_Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def is_full(self) -> bool:
        """Whether no more may listen: their streams would end as soon as they begin."""
        return len(self._listeners) >= self._max_listeners

    @property
    def is_closing(self) -> bool:
        """Whether every stream is to end."""
        return self._closing.is_set()

    def open(self) -> None:
        """Belong to the running loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._closing.clear()

    def close(self) -> None:
        """End every stream, so that a server that waits for its connections can stop. On the loop; twice is fine."""
        self._closing.set()
        for listener in self._listeners:
            listener.news.set()

    def publish(self, run_ids: frozenset[str]) -> None:
        """Tell every listener, soon, that these runs changed. From any thread; dropped when no loop is open."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._spread, run_ids)

    def _spread(self, run_ids: frozenset[str]) -> None:
        for listener in self._listeners:
            listener.run_ids |= run_ids
            listener.news.set()

    async def stream(self) -> AsyncIterator[bytes]:
        """The bytes of one listener's stream, until the hub is closed or the listener goes away."""
        with self.listen() as changes:
            yield LISTENING
            async for run_ids in changes:
                yield event("changed", {"runs": sorted(run_ids)}) if run_ids else STILL_HERE

    @contextlib.contextmanager
    def listen(self) -> Iterator[AsyncIterator[set[str]]]:
        """The ids of runs that change from now on, those since the last time together; none where nothing did for a
        while. Ends when the hub is closed, and at once when it is full."""
        listener = _Listener()
        if self.is_full:
            yield _nothing()
            return
        self._listeners.add(listener)
        try:
            yield self._changes(listener)
        finally:
            self._listeners.discard(listener)

    async def _changes(self, listener: "_Listener") -> AsyncIterator[set[str]]:
        while not self._closing.is_set():
            yield await self._next(listener)
            await _wait(self._closing, self._pause_s)

    async def _next(self, listener: "_Listener") -> set[str]:
        if not await _wait(listener.news, self._keep_alive_s):
            return set()
        listener.news.clear()
        run_ids, listener.run_ids = listener.run_ids, set()
        return run_ids


def event(name: str, data: object, number: int | None = None) -> bytes:
    """One event of a stream; with a `number`, that is its id, by which a listener that comes back goes on."""
    mark = b"" if number is None else b"id: %d\n" % number
    return b"event: " + name.encode() + b"\n" + mark + b"data: " + orjson.dumps(data) + b"\n\n"


async def _nothing() -> AsyncIterator[set[str]]:
    nothing: tuple[set[str], ...] = ()
    for each in nothing:
        yield each


class _Listener:
    def __init__(self) -> None:
        self.run_ids: set[str] = set()
        self.news = asyncio.Event()


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether `event` was set within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
