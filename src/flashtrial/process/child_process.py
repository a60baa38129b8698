"""What is asked of the process behind a child, whoever made it: a template (`template`), or we (`interpreter`)."""

import signal
from typing import Protocol


class ChildProcess(Protocol):
    """A process that was made for us, by whatever means."""

    @property
    def pid(self) -> int: ...

    @property
    def pidfd(self) -> int | None:
        """Readable when the process has ended; None where the platform has none (then the socket's end tells)."""
        ...

    @property
    def is_doomed(self) -> bool:
        """Whether it is over, or will be in a moment, because the process it lives from is."""
        ...

    def signal_leader(self, number: signal.Signals) -> None:
        """Signal the process alone; nothing happens when it is gone."""
        ...

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and all that it started in its session; nothing happens when it is gone."""
        ...

    async def exit_code(self) -> int | None:
        """Wait for the end, bury the process and its group; negative for a signal, None when nobody knows."""
        ...

    def close(self) -> None:
        """Let go of descriptors; the process must be over."""
        ...
