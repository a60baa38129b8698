"""What a call says while it runs, for those who follow it: the end of its output, and the values that it yields."""

from collections.abc import Callable, Sequence
from typing import Final

from flashtrial.process.output import OutputBuffer

TAIL_BYTES: Final = 8 * 1024


class LiveOutput(OutputBuffer):
    """The call's output as its answer will have it, and beside that its last `TAIL_BYTES`.

    `on_yield` is given each value of a generator, as JSON.
    """

    def __init__(self, on_yield: Callable[[bytes], None]) -> None:
        super().__init__()
        self._on_yield = on_yield
        self._tail = bytearray()
        self.total_bytes = 0

    def append(self, data: bytes) -> None:
        super().append(data)
        self.total_bytes += len(data)
        self._tail += data[-TAIL_BYTES:]
        del self._tail[:-TAIL_BYTES]

    def yielded(self, value: bytes) -> None:
        self._on_yield(value)

    def tail(self) -> str:
        """The last of what was said; bytes that are no UTF-8 are shown as escapes."""
        cut = bytes(self._tail)
        if self.total_bytes > len(cut):
            cut = cut.lstrip(bytes(range(0x80, 0xC0)))  # the rest of a character whose beginning is gone
        return cut.decode("utf-8", "backslashreplace")


class Streaming:
    """The sink of a call whose yielded values are wanted; those that are base64 become JSON strings here."""

    streams = True

    def __init__(self, live: LiveOutput, *, is_json: bool) -> None:
        self._live = live
        self._is_json = is_json

    def output(self, data: bytes) -> None:
        """Some bytes that the call wrote."""
        self._live.output(data)

    def touched(self, run_id: str) -> None:
        """The call opened this run, or logged to it."""
        self._live.touched(run_id)

    def secrets(self, texts: Sequence[str]) -> None:
        """What records of the output may not show."""
        self._live.secrets(texts)

    def yielded(self, value: bytes) -> None:
        """One value of a generator, encoded as results are."""
        self._live.yielded(value if self._is_json else b'"' + value + b'"')
