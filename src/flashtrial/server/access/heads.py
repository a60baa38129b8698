"""uvicorn's HTTP protocol, with an end to its patience: it would wait for ever for a request's head, of any size."""

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_PATIENCE_S = 20.0
MAX_HEAD_BYTES = 64 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Closes a connection on which the head of the first request, or of one that has begun, takes 20 s or 64 KiB.

    What is read at once, 256 KiB at most, may hold a larger head: the bound is one of memory.
    """

    patience_s = HEAD_PATIENCE_S
    _end: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        before, is_body = self.cycle, self.cycle is not None and self.cycle.more_body
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._end is None:
            self._await_head()
        self._head_bytes = 0 if is_body or self.cycle is not before else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _refuse_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # else it would stand in the middle of an answer
            self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _await_head(self) -> None:
        self._end = self.loop.call_later(self.patience_s, self.transport.close)

    def _forget(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
