"""uvicorn's HTTP protocol, with an end to its patience: it would wait for ever for the head of a request."""

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_PATIENCE_S = 20.0


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Closes a connection on which the head of the first request, or of one that has begun, takes 20 s."""

    patience_s = HEAD_PATIENCE_S
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._end is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._end = self.loop.call_later(self.patience_s, self.transport.close)

    def _forget(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
