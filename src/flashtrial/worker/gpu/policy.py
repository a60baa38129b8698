"""What every worker has to know of placement, also one that manages no GPU: it costs nothing to import."""

from enum import StrEnum

from flashtrial.core.errors import FlashtrialError


class Placement(StrEnum):
    """`UNMANAGED` gives every child what the worker sees; the others give each child one GPU, alone or with others."""

    UNMANAGED = "unmanaged"
    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class NoSeat(FlashtrialError):
    """Raised when no GPU of this worker will ever do for a child; `needs_new_worker`: one of another worker may."""

    def __init__(self, reason: str, *, needs_new_worker: bool = False) -> None:
        super().__init__(reason)
        self.needs_new_worker = needs_new_worker
