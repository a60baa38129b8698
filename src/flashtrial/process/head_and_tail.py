"""Bytes of any amount, kept in a bounded amount: the beginning, the end, and how much was cut between them."""

from collections import deque


class HeadAndTail:
    """What a stream said, at most about `limit_bytes` of it: the first half and the last half of the limit.

    One writer; not safe for several threads.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._half = max(limit_bytes // 2, 1)
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._cut_bytes = 0

    def add(self, chunk: bytes) -> None:
        """Take in `chunk`, at the cost of the oldest bytes that are not of the head."""
        room = self._half - len(self._head)
        self._head += chunk[:room]
        if rest := chunk[room:]:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while (excess := self._tail_bytes - self._half) > 0:
            oldest = self._tail.popleft()
            if len(oldest) > excess:
                self._tail.appendleft(oldest[excess:])
            dropped = min(len(oldest), excess)
            self._tail_bytes -= dropped
            self._cut_bytes += dropped

    def text(self) -> str:
        """What was kept, decoded as UTF-8 with escapes for what is none; a line in the middle tells of the cut."""
        if not self._cut_bytes:
            return _text(bytes(self._head) + b"".join(self._tail))
        return f"{_text(bytes(self._head))}\n[… {self._cut_bytes} bytes cut …]\n{_text(b''.join(self._tail))}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
