"""Telling a destination which writers live and which are gone, so that a killed run does not stay "running" for ever.

A writer that is gone is told of only when all of its records were acknowledged, and its journal is kept until the
destination has heard of it. Belongs to one destination's thread.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

import ormsgpack

from flashtrial.core.clock import Clock
from flashtrial.protocol.records import DamagedFrame, JournalHeader, RecordKind, read_frames
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.backends.base import Outage, PulseBackend, WriterNotice
from flashtrial.tracking.journal.facts import Role, why_gone
from flashtrial.tracking.sending.backoff import Backoff
from flashtrial.tracking.sending.feeds import Feed, Feeds
from flashtrial.tracking.sending.outbox_state import OutboxState

logger = logging.getLogger(__name__)

T = TypeVar("T")

BEAT_EVERY_S = 15.0
MOST_WRITERS = 1000


class Pulse:
    """What one destination is told of the writers of `feeds`."""

    def __init__(self, backend: PulseBackend, feeds: Feeds, state: OutboxState, clock: Clock, name: str) -> None:
        self._name = name
        self._is_heard = True
        self._backend = backend
        self._feeds = feeds
        self._state = state
        self._clock = clock
        self._backoff = Backoff(clock)  # its own: what fails here holds up no record
        self._next_beat = 0.0
        state.listens(name, wants=True)

    @property
    def wait_s(self) -> float:
        """How long nothing is told, after failures."""
        return self._backoff.left_s

    def tell(self, *, farewells: bool) -> None:
        """Tell of the living, every 15 s, and with `farewells` of those that are gone and of whom all was sent."""
        if self._backoff.is_waiting or not self._is_heard:
            return
        try:
            self._tell_of_the_living()
            if farewells:
                self._say_farewells()
        except Outage as outage:
            self._backoff.failed(outage.retry_after_s)
            logger.info("who lives could not be told: %s", outage, extra={"action": "pulse_failed"})
        else:
            self._backoff.reset()

    def _tell_of_the_living(self) -> None:
        if self._clock.monotonic() < self._next_beat:
            return
        living = self._feeds.living()
        if self._tell([_notice(feed, is_alive=True) for feed in living]):
            self._next_beat = self._clock.monotonic() + BEAT_EVERY_S

    def _say_farewells(self) -> None:
        departed = self._feeds.departed()
        if self._tell([_notice(feed, is_alive=False) for feed in departed]):
            for feed in departed:
                self._state.say_farewell(feed.header.writer_id, self._name)

    def _tell(self, notices: Sequence[WriterNotice]) -> bool:
        for some in _chunks(notices, MOST_WRITERS):
            if not self._backend.beat(some, BEAT_EVERY_S):
                self._is_heard = False
                self._state.listens(self._name, wants=False)
                logger.info("the destination does not ask which writers live", extra={"action": "pulse_unknown"})
                return False
        return True


def role_of(header: JournalHeader) -> Role:
    """By the header; journals of earlier versions say nothing and were their runs' own."""
    said = header.facts.get("role")
    return Role(said) if isinstance(said, str) and said in {role.value for role in Role} else Role.OWNER


def _notice(feed: Feed, *, is_alive: bool) -> WriterNotice:
    header = feed.header
    ended = not is_alive and _has_ended(feed)
    reason = None if is_alive or ended else why_gone(header.facts)
    last_seq = feed.cursor.seq
    return WriterNotice(
        header.run_id, header.writer_id, role_of(header), is_alive, last_seq, ended, reason, header.facts
    )


def _has_ended(feed: Feed) -> bool:
    """Whether the last state record that is still on the disk is one that ends the run."""
    for number in reversed(feed.segments):
        try:
            states = list(_states(feed, number))
        except (DamagedFrame, OSError):
            return False
        if states:
            return states[-1].is_finished
    return False


def _states(feed: Feed, number: int) -> Iterator[RunStatus]:
    for stretch in feed.read_segment(number):
        for payload, _ in read_frames(stretch.data):
            match ormsgpack.unpackb(payload):
                case [_, RecordKind.STATE.value, _, {"status": str(status)}]:
                    yield RunStatus(status)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
