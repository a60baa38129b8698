"""The sync loop: everything of one outbox to one destination, a request at a time.

Deciding is in `settlement`, files are in `feeds`, the network is in the backend; here is the order of it and the
waiting after failures. It belongs to one thread of the one process that holds the outbox's ``sync.lock``, and may die
between any two lines: cursors move after receipts, and the destination tells records that come twice by their numbers.
"""

import logging
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from flashtrial.core.clock import Clock
from flashtrial.core.retry import full_jitter_s
from flashtrial.tracking.backends.base import Backend, Outage, Rejected
from flashtrial.tracking.feeds import Feed, Feeds
from flashtrial.tracking.progress import SyncStatus, write_status_if_possible
from flashtrial.tracking.settlement import REQUEST_BYTES, Parcel, settle, settle_rejected

logger = logging.getLogger(__name__)

POLL_S = 0.05


class Stop(Protocol):
    """How the loop is told to end; `threading.Event` is one."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float, /) -> object:
        """Return after `timeout` seconds, or soon after the stop was asked for."""
        ...


class Backoff:
    """When the destination may be asked again after failures, by the monotonic clock."""

    def __init__(self, clock: Clock, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._not_before = 0.0

    @property
    def is_waiting(self) -> bool:
        return self._failures > 0 and self._clock.monotonic() < self._not_before

    def failed(self, retry_after_s: float | None) -> None:
        """Wait as long as the destination asked for, else with full jitter up to 30 s."""
        wait_s = full_jitter_s(self._failures, rng=self._rng) if retry_after_s is None else retry_after_s
        self._failures += 1
        self._not_before = self._clock.monotonic() + wait_s

    def reset(self) -> None:
        self._failures = 0


class Sync:
    """Moves records from the journals of `outbox` to `backend`.

    A journal is removed when its writer is gone and all `destinations` (default: this one) have it. `whereabouts`
    gives any value that changes when the destination may have come back elsewhere: then waiting ends at once.
    """

    def __init__(
        self,
        outbox: Path,
        backend: Backend,
        clock: Clock,
        *,
        destinations: Sequence[str] = (),
        whereabouts: Callable[[], object] = lambda: None,
        rng: random.Random | None = None,
    ) -> None:
        self._outbox = outbox
        self._backend = backend
        self._clock = clock
        self._feeds = Feeds(outbox, backend.name, tuple(destinations) or (backend.name,))
        self._backoff = Backoff(clock, rng)
        self._whereabouts = whereabouts
        self._last_seen: object = None
        self._outage: str | None = None

    def step(self) -> bool:
        """Send one request's worth. True when it came to an answer, so that the caller asks again at once."""
        self._feeds.refresh()
        if self._must_wait():
            return False
        parcels = self._feeds.next_parcels(REQUEST_BYTES)
        if not parcels:
            self._feeds.remove_done()
            return False
        try:
            self._deliver(parcels)
        except Outage as outage:
            self._backoff.failed(outage.retry_after_s)
            self._note(str(outage))
            return False
        self._backoff.reset()
        self._note(None)
        return True

    def is_idle(self) -> bool:
        """Whether nothing is pending and no writer lives that could bring more."""
        self._feeds.refresh()
        return self._feeds.are_idle()

    def run_until_idle(self, stop: Stop) -> None:
        """Send until there is nothing left to wait for, or until `stop`; then what still goes without an outage."""
        self.say_status()
        while not stop.is_set():
            if self.step():
                continue
            if self.is_idle():
                return
            stop.wait(POLL_S)
        self._backoff.reset()
        while self.step():
            pass

    def say_status(self) -> None:
        """Leave word of this process and of the destination's state for whoever waits or asks."""
        write_status_if_possible(self._outbox, SyncStatus(os.getpid(), self._outage, self._clock.time_ms()))

    def _must_wait(self) -> bool:
        if not self._backoff.is_waiting:
            return False
        before, self._last_seen = self._last_seen, self._whereabouts()
        if self._last_seen == before:
            return True
        self._backoff.reset()
        return False

    def _deliver(self, parcels: Sequence[tuple[Feed, Parcel]]) -> None:
        """Raises `Outage`; what was answered before it is settled."""
        self._last_seen = self._whereabouts()
        try:
            receipts = self._backend.send([parcel.batch for _, parcel in parcels])
        except Rejected as rejected:
            self._deliver_apart(parcels, rejected)
            return
        for (feed, parcel), receipt in zip(parcels, receipts, strict=True):
            feed.apply(settle(parcel, receipt, self._clock.time_ms()))

    def _deliver_apart(self, parcels: Sequence[tuple[Feed, Parcel]], rejected: Rejected) -> None:
        """One parcel of a rejected request is to blame: ask for each alone."""
        if len(parcels) > 1:
            for one in parcels:
                self._deliver([one])
            return
        [(feed, parcel)] = parcels
        if not rejected.is_certain and len(parcel.stretch.marks) == 1:
            raise Outage(str(rejected))
        feed.apply(settle_rejected(parcel, str(rejected), self._clock.time_ms()))

    def _note(self, outage: str | None) -> None:
        """Say a change of the destination's state once, not at each attempt."""
        if (outage is None) == (self._outage is None):
            self._outage = outage
            return
        self._outage = outage
        self.say_status()
        if outage is None:
            logger.info("records go through again", extra={"action": "outage_over"})
        else:
            logger.warning("nothing goes through: %s; trying again", outage, extra={"action": "outage"})
