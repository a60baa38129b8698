"""How much of a console is kept: bursts whole, a flood by its first and last lines. No I/O."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BURST_LINES: Final = 20_000
LINES_PER_S: Final = 500.0
BURST_BYTES: Final = 8 * 1024 * 1024
BYTES_PER_S: Final = 256 * 1024.0
LAST_LINES: Final = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One line as it is to be recorded."""

    stream: str
    text: str


class ConsoleBudget:
    """Lets lines through as long as there is room; holds the last ones back when there is none.

    The lines before a death are those that matter: what is held back comes with the next `release`. `monotonic` gives
    seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lines, self._bytes = float(BURST_LINES), float(BURST_BYTES)
        self._at = monotonic()
        self._held: deque[Entry] = deque()
        self._dropped = 0

    def admit(self, entry: Entry) -> list[Entry]:
        """What is to be recorded now that `entry` came: it, what was held before it, or nothing."""
        released = self.released()
        if not self._held and not self._dropped and self._has_room(1):
            self._spend([entry])
            return [*released, entry]
        self._held.append(entry)
        if len(self._held) > LAST_LINES:
            self._held.popleft()
            self._dropped += 1
        return released

    def released(self) -> list[Entry]:
        """What was held back and has room by now."""
        self._refill()
        return self.release() if self._held and self._has_room(len(self._held) + 1) else []

    def release(self) -> list[Entry]:
        """What is held back, whatever the room, with a word about what was dropped before it."""
        if not self._held:
            return []
        first = self._held[0]
        said = [Entry(first.stream, f"[… {self._dropped} lines cut: too many at once]")]
        entries = [*(said if self._dropped else ()), *self._held]
        self._held.clear()
        self._dropped = 0
        self._spend(entries)
        return entries

    def skip(self, count: int) -> None:
        """`count` lines were dropped before anybody looked at them, all newer than those held back."""
        self._dropped += count + len(self._held)
        self._held.clear()

    @property
    def is_flooded(self) -> bool:
        """Whether lines are being held back, so that of many only the last need be looked at."""
        return len(self._held) >= LAST_LINES

    def _spend(self, entries: list[Entry]) -> None:
        self._lines -= len(entries)
        self._bytes -= sum(len(entry.text) for entry in entries)

    def _has_room(self, lines: int) -> bool:
        return self._lines >= lines and self._bytes > 0

    def _refill(self) -> None:
        now = self._monotonic()
        elapsed_s, self._at = now - self._at, now
        self._lines = min(self._lines + elapsed_s * LINES_PER_S, BURST_LINES)
        self._bytes = min(self._bytes + elapsed_s * BYTES_PER_S, BURST_BYTES)
