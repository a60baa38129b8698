"""The interface of a destination of records, and what it may answer.

A module ``backends/<name>.py`` offers ``open_backend(home: Path, environment: Mapping[str, str]) -> Backend``; it is
loaded when a journal names that destination (header fact ``backends``, setting ``FLASHTRIAL_BACKENDS``), in the sync
process. It may raise `Outage` (a package that is not installed): then it is asked again later. Each destination has a
thread of its own, so one that is slow or down holds up no other. One that is also a `PulseBackend` is told which
writers live and which are gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import Batch
from flashtrial.tracking.journal.facts import Role


class Outage(FlashtrialError):
    """Raised when nothing can be said about the records: try the same again later, as often as it takes.

    `retry_after_s` is what the destination asked for, if it asked.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Rejected(FlashtrialError):
    """Raised when this request will never be taken as it is; a smaller one may pass.

    `is_certain` when it was the destination itself that judged, and not something on the way to it, to which the
    request was too large.
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

    With `error` set, the batch was damaged: nothing is known of any of its records. With `is_unfinished`, time was over
    before all of it was taken: the same is to be sent again at once, and goes on where it was.
    """

    stored: int = 0
    duplicates: int = 0
    refused: tuple[RefusedRecord, ...] = ()
    error: str | None = None
    is_unfinished: bool = False


class Backend(Protocol):
    """A destination. Sending the same records again changes nothing there.

    Used by one thread, unless it is a `ConcurrentBackend`.
    """

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


@runtime_checkable
class ConcurrentBackend(Protocol):
    """A destination to which `send` may bring several requests at once, from a thread each."""

    @property
    def most_requests(self) -> int:
        """How many."""
        ...


@dataclass(frozen=True, slots=True)
class WriterNotice:
    """Whether a writer lives. One that is gone was sent wholly, up to `last_seq`; `ended`: it ended its run itself."""

    run_id: str
    writer_id: str
    role: Role
    is_alive: bool
    last_seq: int
    ended: bool = False
    reason: str | None = None
    facts: Mapping[str, Any] | None = None


@runtime_checkable
class PulseBackend(Protocol):
    """A destination that wants to know which writers live."""

    def beat(self, notices: Sequence[WriterNotice], every_s: float) -> bool:
        """Tell of at most 1,000 writers; False when the destination knows no such thing. Raises `Outage`.

        Repeating a notice changes nothing. Those of writers that live come every `every_s` seconds.
        """
        ...
