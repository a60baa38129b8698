"""Wakes those who wait for something to change, so that nobody has to ask again and again."""

import asyncio
import contextlib
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class TopicKind(StrEnum):
    QUEUE = "queue"  # of an endpoint: jobs wait, or a worker is to leave
    STAFF = "staff"  # of an endpoint: whether its workers suffice may have changed
    JOB = "job"  # it has ended
    STREAM = "stream"  # of a job: a chunk came, or it has ended
    STOP = "stop"  # of a worker: a job is to be stopped, or it is to leave


class Topic(NamedTuple):
    kind: TopicKind
    id: str


class Listener:
    """One waiter's ear. What rang between two waits is not missed."""

    def __init__(self) -> None:
        self._rang = asyncio.Event()

    def ring(self) -> None:
        self._rang.set()

    async def wait_until(self, deadline: float) -> bool:
        """Whether it rang before `deadline` (the loop's time in seconds)."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._rang.wait()
        except TimeoutError:
            return False
        self._rang.clear()  # before the caller looks again, so that a ring during the look counts
        return True


class Bell:
    """Topics and those who listen to them. Used from one event loop only."""

    def __init__(self) -> None:
        self._listeners: dict[Topic, set[Listener]] = {}

    @contextlib.contextmanager
    def listen(self, topic: Topic) -> Iterator[Listener]:
        """A listener for the block. Begin to listen, then look, then wait: so nothing falls between."""
        listener = Listener()
        listeners = self._listeners.setdefault(topic, set())
        listeners.add(listener)
        try:
            yield listener
        finally:
            listeners.discard(listener)
            if not listeners and self._listeners.get(topic) is listeners:
                del self._listeners[topic]

    def ring(self, topic: Topic) -> None:
        """Wake all who listen to `topic`."""
        for listener in self._listeners.get(topic, ()):
            listener.ring()

    def ring_all(self) -> None:
        """Wake everybody, whatever they wait for."""
        for topic in list(self._listeners):
            self.ring(topic)
