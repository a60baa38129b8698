"""Destinations of other kinds than our own: loaded when they are first needed, and kept from harming the others."""

import contextlib
import importlib
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from flashtrial.protocol.records import Batch
from flashtrial.tracking.backends.base import Backend, BatchReceipt, Outage, PulseBackend, Rejected, WriterNotice

logger = logging.getLogger(__name__)

HINT = "a token that is no line of ASCII, or a fault of ours: sync.log in the home's logs has the place"


class LateBackend:
    """A backend that is made at its first use, and again later when it could not be made. See `Backend`.

    An error that is no word of the destination's is an outage of this one: all others share its process.
    """

    def __init__(self, name: str, make: Callable[[], Backend]) -> None:
        self.name = name
        self._make = make
        self._made: Backend | None = None

    def send(self, batches: Sequence[Batch]) -> tuple[BatchReceipt, ...]:
        with self._kept_apart():
            self._made = self._made or self._make()
            return self._made.send(batches)

    def beat(self, notices: Sequence[WriterNotice], every_s: float) -> bool:
        """See `PulseBackend`; False of one that is none."""
        with self._kept_apart():
            self._made = self._made or self._make()
            return isinstance(self._made, PulseBackend) and self._made.beat(notices, every_s)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    @contextlib.contextmanager
    def _kept_apart(self) -> Iterator[None]:
        try:
            yield
        except (Outage, Rejected):
            raise
        except Exception as error:
            kind = type(error).__name__  # not its text, which may hold what was sent, a token included
            place = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
            logger.warning(
                "the backend %s failed with %s: %s", self.name, kind, place, extra={"action": "backend_failed"}
            )
            raise Outage(f"the backend {self.name} failed with {kind}; {HINT}") from error


def load_backend(name: str, home: Path, environment: Mapping[str, str]) -> Backend:
    """What ``flashtrial.tracking.backends.<name>`` makes. Raises `Outage` when there is none, or it cannot be used."""
    if not name.isidentifier():
        raise Outage(f"{name!r} is no backend")
    try:
        module = importlib.import_module(f"flashtrial.tracking.backends.{name}")
    except ImportError as error:
        raise Outage(f"the backend {name} cannot be loaded: {error}") from error
    backend: Backend = module.open_backend(home, environment)
    return backend
