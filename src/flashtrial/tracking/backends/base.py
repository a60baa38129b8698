"""The interface of a destination of records, and what it may answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import Batch


class Outage(FlashtrialError):
    """Raised when nothing can be said about the records: try the same again later, as often as it takes.

    `retry_after_s` is what the destination asked for, if it asked.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Rejected(FlashtrialError):
    """Raised when this request will never be taken as it is; a smaller one may pass.

    `is_certain` when it was the destination itself that judged, and not something on the way to it: only then is a
    record that is rejected alone no good.
    """

    def __init__(self, reason: str, *, is_certain: bool = True) -> None:
        super().__init__(reason)
        self.is_certain = is_certain


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """One record that the destination will never take, and why."""

    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """What became of one batch: what is not in `refused` is stored for good.

    With `error` set, the batch was damaged: nothing is known of any of its records.
    """

    stored: int = 0
    duplicates: int = 0
    refused: tuple[RefusedRecord, ...] = ()
    error: str | None = None


class Backend(Protocol):
    """A destination. Used by one thread. Sending the same records again changes nothing there."""

    @property
    def name(self) -> str:
        """Stands in the names of cursor files: lower-case letters only, the same for ever."""
        ...

    def send(self, batches: Sequence[Batch]) -> tuple[BatchReceipt, ...]:
        """A receipt for each batch, in their order. Raises `Outage` or `Rejected`; returns in bounded time."""
        ...

    def close(self) -> None:
        """Let go of connections. Calling twice is safe."""
        ...
