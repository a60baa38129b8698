"""From bytes of a console to its records: whole lines, masked, bounded, numbered."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from flashtrial.protocol.records import RecordKind
from flashtrial.tracking.capture.budget import LAST_LINES, ConsoleBudget, Entry
from flashtrial.tracking.capture.lines import Line, LineAssembler, cut
from flashtrial.tracking.capture.masking import Masks

_FLOOD_CHUNK_LINES: Final = 2 * LAST_LINES


class ConsoleRecorder:
    """Used by one thread. `append` takes kind and body of each record; `prefix` stands before each line."""

    def __init__(
        self,
        append: Callable[[str, dict[str, Any]], None],
        masks: Masks,
        prefix: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._append = append
        self._masks = masks
        self._prefix = prefix
        self._budget = ConsoleBudget(monotonic)
        self._assemblers: dict[str, LineAssembler] = {}
        self._count = 0

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these, too, in what is fed from now on."""
        self._masks.learn(secrets)

    def feed(self, stream: str, data: bytes) -> None:
        """What was written to `stream`."""
        lines = self._assembler(stream).feed(data)
        if len(lines) > _FLOOD_CHUNK_LINES and self._budget.is_flooded:
            self._budget.skip(len(lines) - LAST_LINES)
            lines = lines[-LAST_LINES:]
        for line in lines:
            self._take(stream, line)

    def settle(self) -> None:
        """Some time went by: record what is held back, if there is room for it by now."""
        self._record(self._budget.released())

    def flush(self) -> None:
        """Nothing more is known to come: record what is held back, and lines that nobody ended."""
        for stream, assembler in self._assemblers.items():
            for line in assembler.flush():
                self._take(stream, line)
        self._record(self._budget.release())

    def _assembler(self, stream: str) -> LineAssembler:
        if stream not in self._assemblers:
            self._assemblers[stream] = LineAssembler()
        return self._assemblers[stream]

    def _take(self, stream: str, line: Line) -> None:
        text = line.text()
        if not text and line.size_bytes:  # nothing but moves of the cursor
            return
        self._record(self._budget.admit(Entry(stream, self._prefix + cut(self._masks.masked(text), line.size_bytes))))

    def _record(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._count += 1
            self._append(RecordKind.CONSOLE.value, {"stream": entry.stream, "line": self._count, "text": entry.text})
