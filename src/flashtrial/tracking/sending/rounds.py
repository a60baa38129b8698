"""A round of requests: several under way at once to a destination that takes so many, each with journals of its own.

    this thread   ──── request 1 ────▶ answer ┐
    a thread each ──── request 2 ────▶ answer ├─▶ settled one after the other, in this thread
                  ──── request 3 ────▶ answer ┘

A journal is in one request of a round at most, so its records arrive in order. What becomes of one request is nothing
to the others.
"""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flashtrial.tracking.backends.base import Backend, BatchReceipt, ConcurrentBackend
from flashtrial.tracking.sending.feeds import Feed
from flashtrial.tracking.sending.settlement import Parcel

Load: TypeAlias = Sequence[tuple[Feed, Parcel]]  # what goes into one request


@dataclass(slots=True)
class Answered:
    """A request of a round, and what came of it: receipts, or the error that `Backend.send` raised."""

    load: Load
    receipts: tuple[BatchReceipt, ...] = ()
    error: Exception | None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(parcel.stretch.data) for _, parcel in self.load)

    def ask(self, backend: Backend) -> None:
        """Send it; the error is kept, since a thread of its own has nobody to raise it to."""
        try:
            self.receipts = backend.send([parcel.batch for _, parcel in self.load])
        except Exception as error:  # noqa: BLE001 - the edge of a thread: raised where the answer is settled
            self.error = error


def most_requests(backend: Backend) -> int:
    """How many requests a destination takes at once."""
    return backend.most_requests if isinstance(backend, ConcurrentBackend) else 1


def send_round(backend: Backend, loads: Sequence[Load]) -> list[Answered]:
    """Send all of `loads` at once, and come back when each has its answer.

    Where no more threads can be started (a limit of processes, the end of the interpreter), one after the other.
    """
    answered = [Answered(load) for load in loads]
    others = [threading.Thread(target=each.ask, args=(backend,), daemon=True) for each in answered[1:]]
    started = list(itertools.takewhile(_is_started, others))
    for each in [*answered[:1], *answered[1 + len(started) :]]:
        each.ask(backend)
    for thread in started:
        thread.join()
    return answered


def _is_started(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
