"""Lines out of a stream of bytes, as a reader of the terminal would have them at last. No I/O.

A carriage return starts the line over: of a progress bar that redraws itself only the last state counts. Of a line
that is longer than anybody reads, the beginning is kept, and how much was cut is known.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_LINE_BYTES: Final = 8 * 1024
MARGIN_BYTES: Final = 4 * 1024  # beyond the cut, so that a secret that lies across it is whole when it is masked

_NOT_COLOURS: Final = re.compile(r"\x1b(?:\[[0-9;?]*[@-ln-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>])")


@dataclass(frozen=True, slots=True)
class Line:
    """`data` has at most `MAX_LINE_BYTES` + `MARGIN_BYTES`; `size_bytes` is how long the line was."""

    data: bytes
    size_bytes: int

    def text(self) -> str:
        """As text: what is no UTF-8, and NUL, as escapes; colours stay, other control sequences of terminals do not."""
        text = self.data.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
        return _NOT_COLOURS.sub("", text) if "\x1b" in text else text


def cut(text: str, size_bytes: int) -> str:
    """`text`, that of a line of `size_bytes`, no longer than `MAX_LINE_BYTES`, with what was left out said."""
    data = text.encode("utf-8", "backslashreplace")
    if size_bytes <= MAX_LINE_BYTES and len(data) <= 4 * MAX_LINE_BYTES:
        return text
    kept = data[:MAX_LINE_BYTES].decode("utf-8", "ignore")
    return f"{kept} [… {max(size_bytes, len(data)) - MAX_LINE_BYTES} bytes cut]"


class LineAssembler:
    """Of one stream."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._size_bytes = 0
        self._has_returned = False

    def feed(self, data: bytes) -> list[Line]:
        """The lines that `data` completes."""
        *complete, rest = data.split(b"\n")
        lines = []
        for part in complete:
            self._take(part)
            lines.append(self._line())
        if rest:
            self._take(rest)
        return lines

    def flush(self) -> list[Line]:
        """What is there of a line that nobody ended; none when nothing is."""
        return [self._line()] if self._size_bytes else []

    def _take(self, part: bytes) -> None:
        if b"\r" not in part:
            self._append(part)
            return
        first, *others = part.split(b"\r")
        self._append(first)
        for other in others:
            self._has_returned = True
            self._append(other)

    def _append(self, data: bytes) -> None:
        if not data:
            return
        if self._has_returned:
            self._kept.clear()
            self._size_bytes = 0
            self._has_returned = False
        self._kept += data[: MAX_LINE_BYTES + MARGIN_BYTES - len(self._kept)]
        self._size_bytes += len(data)

    def _line(self) -> Line:
        line = Line(bytes(self._kept), self._size_bytes)
        self._kept.clear()
        self._size_bytes = 0
        self._has_returned = False
        return line
