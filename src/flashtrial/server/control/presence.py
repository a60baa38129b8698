"""Whose inbox is open: a controller is connected while it listens, and a little after."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flashtrial.core.clock import Clock
from flashtrial.server.control.epochs import Post

LINGERS_S = 10.0  # a controller that asks again and again is connected between two questions


@dataclass(slots=True)
class Presence:
    """Who listens, and who did last. Lives on the event loop; forgotten with the server."""

    clock: Clock
    _listening: dict[Post, int] = field(default_factory=dict)
    _left_s: dict[Post, float] = field(default_factory=dict)

    @contextmanager
    def listening(self, post: Post) -> Iterator[None]:
        """The holder of this post listens while the block lasts."""
        self._listening[post] = self._listening.get(post, 0) + 1
        try:
            yield
        finally:
            self._listening[post] -= 1
            if not self._listening[post]:
                del self._listening[post]
            self._left_s[post] = self.clock.monotonic()

    def is_connected(self, post: Post) -> bool:
        """Whether it listens, or did so just now."""
        left_s = self._left_s.get(post)
        return post in self._listening or (left_s is not None and self.clock.monotonic() - left_s < LINGERS_S)
