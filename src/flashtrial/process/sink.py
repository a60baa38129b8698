"""Where the parent puts what a call says before it is done."""

from collections.abc import Sequence
from typing import Protocol


class Sink(Protocol):
    """Told in the event loop's thread, in order; must not block."""

    @property
    def streams(self) -> bool:
        """Whether each value of a generator is wanted as it comes."""
        ...

    def output(self, data: bytes) -> None:
        """Some bytes that the call wrote."""
        ...

    def touched(self, run_id: str) -> None:
        """The call opened this run, or logged to it; told once for each run."""
        ...

    def secrets(self, texts: Sequence[str]) -> None:
        """What no record of the call's output may show from now on; the output itself stays as it is."""
        ...

    def yielded(self, value: bytes) -> None:
        """One value of a generator, encoded as a result is; only for calls that asked for a stream."""
        ...
