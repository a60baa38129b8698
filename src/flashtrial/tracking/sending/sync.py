"""The sync loop: everything of one outbox to one destination, a round of requests at a time.

Deciding is in `settlement`, files are in `feeds`, the network is in the backend; here is the order of it and the
waiting after failures. It belongs to one thread of the one process that holds the outbox's ``sync.lock``, and may die
between any two lines: cursors move after receipts, and the destination tells records that come twice by their numbers.
"""

import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from flashtrial.core.clock import Clock
from flashtrial.tracking.backends.base import Backend, Outage, PulseBackend, Rejected
from flashtrial.tracking.journal.routes import Destination, Route
from flashtrial.tracking.sending.backoff import Backoff
from flashtrial.tracking.sending.feeds import Feeds
from flashtrial.tracking.sending.outbox_state import OutboxState
from flashtrial.tracking.sending.pulse import Pulse
from flashtrial.tracking.sending.rounds import Answered, Load, most_requests, send_round
from flashtrial.tracking.sending.settlement import settle, settle_rejected, why_too_large
from flashtrial.tracking.sending.width import Width

logger = logging.getLogger(__name__)

POLL_S = 0.05
OUTAGE_POLL_S = 0.5  # while it waits after failures: a look costs milliseconds, and an outage lasts
LOOK_ROUND_EVERY_S = 1.0


class Stop(Protocol):
    """How the loop is told to end; `threading.Event` is one."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float, /) -> object:
        """Return after `timeout` seconds, or soon after the stop was asked for."""
        ...


class Sync:
    """Moves records from the journals of `outbox` to `backend`.

    Of the journals it takes those that `route` says (default: all); what several destinations of one process know
    together is `state`. `whereabouts` gives any value that changes when the destination may have come back elsewhere:
    then waiting ends at once.
    """

    def __init__(
        self,
        outbox: Path,
        backend: Backend,
        clock: Clock,
        *,
        route: Route | None = None,
        state: OutboxState | None = None,
        may_remove: Callable[[list[Path]], bool] = lambda _paths: True,
        whereabouts: Callable[[], object] = lambda: None,
        rng: random.Random | None = None,
    ) -> None:
        destination = route.destination if route else Destination(backend.name)
        self._name = str(destination)
        self._backend = backend
        self._clock = clock
        self._state = state or OutboxState(outbox, clock)
        only = frozenset({destination})
        route = route or Route(destination, lambda _header, _is_alive: only)
        self._feeds = Feeds(self._state, route, may_remove)
        self._pulse: Pulse | None = None
        if isinstance(backend, PulseBackend):
            self._pulse = Pulse(backend, self._feeds, self._state, clock, self._name)
        self._backoff = Backoff(clock, rng)
        self._whereabouts = whereabouts
        self._last_seen: object = None
        self._most = most_requests(backend)
        self._width = Width(clock)
        self._outage: str | None = None
        self._look_round_at = clock.monotonic() + LOOK_ROUND_EVERY_S

    def step(self) -> bool:
        """Send one round's worth. True when it came to an answer, so that the caller asks again at once."""
        self._feeds.refresh()
        if self._must_wait():
            return False
        try:
            has_sent = self._send()
        except Outage as outage:
            self._backoff.failed(outage.retry_after_s)
            self._note(str(outage))
            return False
        if has_sent:
            self._backoff.reset()
            self._note(None)
        return has_sent

    @property
    def poll_s(self) -> float:
        """How long to wait before the next step, after one that had nothing to send."""
        pulse_s = self._pulse.wait_s if self._pulse is not None else 0.0
        return min(max(self._backoff.left_s, pulse_s, POLL_S), OUTAGE_POLL_S)

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
            stop.wait(self.poll_s)
        self.last_round()

    def last_round(self) -> None:
        """Send what goes without an outage, whatever was waited for."""
        self._backoff.reset()
        while self.step():
            pass

    def say_status(self) -> None:
        """Leave word of this process and of the destination's state for whoever waits or asks."""
        self._state.say_status()

    def _send(self) -> bool:
        """Whether there was something to send. Raises `Outage`."""
        loads = self._feeds.next_loads(self._width.request_bytes, self._most)
        if loads:
            self._deliver(loads)
        looks_round = not loads or self._clock.monotonic() >= self._look_round_at
        if self._pulse is not None:
            self._pulse.tell(farewells=looks_round)
        if looks_round:  # now and then also where writers never pause
            self._feeds.remove_done()
            self._look_round_at = self._clock.monotonic() + LOOK_ROUND_EVERY_S
        return bool(loads)

    def _must_wait(self) -> bool:
        if not self._backoff.is_waiting:
            return False
        before, self._last_seen = self._last_seen, self._whereabouts()
        if self._last_seen == before:
            return True
        self._backoff.reset()
        return False

    def _deliver(self, loads: Sequence[Load]) -> None:
        """Raises `Outage` when all that was answered is settled; the one that asked for the longest wait."""
        self._last_seen = self._whereabouts()
        outages: list[Outage] = []
        for answered in send_round(self._backend, loads):
            try:
                self._settle(answered)
            except Outage as outage:
                outages.append(outage)
        if outages:
            raise max(outages, key=lambda outage: outage.retry_after_s or 0.0)

    def _settle(self, answered: Answered) -> None:
        """Raises `Outage`, and what is no answer at all."""
        match answered.error:
            case Rejected() as rejected if rejected.is_certain:
                self._deliver_apart(answered.load, rejected)
            case Rejected() as rejected:
                self._deliver_less(answered, rejected)
            case Exception() as error:
                raise error
            case None:
                self._width.taken(answered.size_bytes)
        for (feed, parcel), receipt in zip(answered.load, answered.receipts, strict=answered.error is None):
            if not receipt.is_unfinished:
                feed.apply(settle(parcel, receipt, self._clock.time_ms()))

    def _deliver_apart(self, load: Load, rejected: Rejected) -> None:
        """One parcel of a rejected request is to blame: ask for each alone."""
        if len(load) > 1:
            for one in load:
                self._deliver([[one]])
            return
        [(feed, parcel)] = load
        feed.apply(settle_rejected(parcel, str(rejected), self._clock.time_ms()))

    def _deliver_less(self, answered: Answered, rejected: Rejected) -> None:
        """The way is too narrow for the request: smaller ones from now on; a record that is too large is set aside.

        Raises `Outage` when it was small enough for any way.
        """
        [(feed, parcel), *others] = answered.load
        if others or len(parcel.stretch.marks) > 1:
            self._width.refused(answered.size_bytes)
        elif self._width.is_too_large(answered.size_bytes):
            feed.apply(settle_rejected(parcel, why_too_large(parcel, str(rejected)), self._clock.time_ms()))
        else:
            raise Outage(f"{rejected}, which lets not even {answered.size_bytes} bytes through; look at its limits")

    def _note(self, outage: str | None) -> None:
        """Say a change of the destination's state once, not at each attempt."""
        before, self._outage = self._outage, outage
        if (outage is None) == (before is None):
            return
        self._state.note(self._name, outage)
        if outage is None:
            logger.info("records go through to %s again", self._name, extra={"action": "outage_over"})
        else:
            logger.warning(
                "nothing goes through to %s: %s; trying again", self._name, outage, extra={"action": "outage"}
            )
