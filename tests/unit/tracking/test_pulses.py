"""Who is told that a writer lives or is gone, when, and what waits for it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flashtrial.protocol.records import JournalHeader, JsonValue
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import Outage, WriterNotice
from flashtrial.tracking.journal.facts import Role, boot_id, why_gone
from flashtrial.tracking.journal.outbox import Journal
from flashtrial.tracking.journal.routes import Destination, Destinations, Route
from flashtrial.tracking.sending.feeds import Feeds
from flashtrial.tracking.sending.outbox_state import OutboxState
from flashtrial.tracking.sending.settlement import settle
from flashtrial.tracking.sending.sync import Sync
from flashtrial.tracking.settings.limits import OutboxLimits


@dataclass(slots=True)
class ListeningBackend(MemoryBackend):
    """A destination that hears of writers; `knows` and `is_down` say how it answers."""

    heard: list[WriterNotice] = field(default_factory=list)
    knows: bool = True
    is_down: bool = False

    def beat(self, notices: Sequence[WriterNotice], every_s: float) -> bool:
        assert every_s > 0
        if self.is_down:
            raise Outage("no ear")
        self.heard += notices if self.knows else ()
        return self.knows

    def of(self, *, alive: bool) -> list[WriterNotice]:
        return [notice for notice in self.heard if notice.is_alive is alive]


def journal_of(outbox: Path, **facts: str) -> Journal:
    journal = Journal.create(outbox, JournalHeader("run_1", "wr_1", facts))
    journal.append("state", {"status": "running"}, 5)
    return journal


def drain(sync: Sync) -> None:
    while sync.step():
        pass


def test_those_that_live_are_told_of_every_fifteen_seconds(outbox: Path) -> None:
    backend, clock = ListeningBackend(), FakeClock()
    journal = journal_of(outbox)
    sync = Sync(outbox, backend, clock)
    for _ in range(3):
        drain(sync)
        drain(sync)
        clock.advance(15)
    assert [(notice.writer_id, notice.is_alive) for notice in backend.heard] == [("wr_1", True)] * 3
    journal.close()


def test_a_writer_that_is_gone_without_an_end_is_told_of_after_its_last_record(outbox: Path) -> None:
    backend = ListeningBackend()
    journal = journal_of(outbox, role="guest")
    journal.append("metric", {"values": {"x": 1.0}}, 5)
    journal.close()
    drain(Sync(outbox, backend, FakeClock()))
    [notice] = backend.of(alive=False)
    assert (notice.run_id, notice.last_seq, notice.ended, notice.role) == ("run_1", 2, False, Role.GUEST)
    assert notice.reason
    assert list(outbox.iterdir()) == []


def test_a_writer_that_ended_its_run_is_told_of_as_such(outbox: Path) -> None:
    backend = ListeningBackend()
    journal = journal_of(outbox)
    journal.append("state", {"status": "finished"}, 5)
    journal.append("console", {"stream": "stdout", "line": 1, "text": "last words"}, 6)
    journal.close()
    drain(Sync(outbox, backend, FakeClock()))
    [notice] = backend.of(alive=False)
    assert (notice.ended, notice.reason) == (True, None)


def test_a_journal_is_kept_until_the_death_of_its_writer_was_heard(outbox: Path) -> None:
    backend, clock = ListeningBackend(is_down=True), FakeClock()
    journal = journal_of(outbox)
    journal.close()
    sync = Sync(outbox, backend, clock)
    drain(sync)
    assert len(backend.stored) == 1
    assert journal.path.exists()
    assert not sync.is_idle()
    backend.is_down = False
    clock.advance(31)
    drain(sync)
    assert not journal.path.exists()
    assert sync.is_idle()


def test_whoever_waits_to_be_heard_looks_twice_a_second(outbox: Path) -> None:
    backend, clock = ListeningBackend(is_down=True), FakeClock()
    journal_of(outbox).close()
    sync = Sync(outbox, backend, clock)
    polls = set[float]()
    for _ in range(2000):
        drain(sync)
        polls.add(sync.poll_s)
        clock.advance(sync.poll_s)
    assert max(polls) == 0.5
    backend.is_down = False
    for _ in range(100):
        drain(sync)
        clock.advance(sync.poll_s)
    assert len(backend.of(alive=False)) == 1
    assert sync.poll_s == 0.05


def test_what_cannot_be_told_holds_up_no_record(outbox: Path) -> None:
    backend = ListeningBackend(is_down=True)
    journal = journal_of(outbox)
    sync = Sync(outbox, backend, FakeClock())
    for _ in range(5):
        journal.append("metric", {"values": {"x": 1.0}}, 5)
        drain(sync)
    assert len(backend.stored) == 6
    journal.close()


def test_a_server_that_knows_no_heartbeats_is_not_waited_for(outbox: Path) -> None:
    backend = ListeningBackend(knows=False)
    journal_of(outbox).close()
    sync = Sync(outbox, backend, FakeClock())
    drain(sync)
    assert sync.is_idle()
    assert list(outbox.iterdir()) == []


def test_a_journal_stays_until_each_of_its_destinations_that_listens_knows_of_the_death(outbox: Path) -> None:
    header = JournalHeader("run_1", "wr_1", {"backends": ["native", "mlflow"]})
    journal = Journal.create(outbox, header)
    journal.append("state", {"status": "running"}, 5)
    journal.close()
    state, find, clock = OutboxState(outbox, FakeClock()), Destinations(), FakeClock()
    native, other = ListeningBackend(), ListeningBackend(name="mlflow", is_down=True)
    syncs = [
        Sync(outbox, backend, clock, route=Route(Destination(backend.name), find), state=state)
        for backend in (native, other)
    ]
    for sync in syncs:
        drain(sync)
    drain(syncs[0])
    assert native.of(alive=False)
    assert journal.path.exists()
    other.is_down = False
    clock.advance(31)
    drain(syncs[1])
    drain(syncs[0])
    assert other.of(alive=False)
    assert not journal.path.exists()


def test_why_a_writer_is_gone_is_said_as_far_as_it_is_known() -> None:
    here: dict[str, JsonValue] = {"host": os.uname().nodename, "pid": 7}
    assert "process 7" in why_gone(here)
    assert "another" in why_gone({"host": "another", "pid": 7})
    assert ("started again" in why_gone({**here, "boot_id": "of another time"})) == (boot_id() is not None)


def test_a_writer_that_goes_on_in_a_new_segment_before_it_dies_is_told_of_when_that_was_sent_too(outbox: Path) -> None:
    """What it wrote after the last look at the folder is no less its own."""
    backend, clock = ListeningBackend(), FakeClock()
    journal = Journal.create(outbox, JournalHeader("run_1", "wr_1", {}), OutboxLimits(segment_bytes=1024))
    journal.append("state", {"status": "running"}, 5)
    state = OutboxState(outbox, clock)
    state.listens("native", wants=True)
    only = frozenset({Destination("native")})
    feeds = Feeds(state, Route(Destination("native"), lambda _header, _is_alive: only))
    feeds.refresh()
    [[(feed, parcel)]] = feeds.next_loads(1 << 20)
    [receipt] = backend.send([parcel.batch])
    feed.apply(settle(parcel, receipt, 5))
    for _ in range(10):
        journal.append("metric", {"values": {"x": 1.0}, "padding": "x" * 200}, 5)
    first = outbox / "wr_1.journal"
    os.truncate(first, parcel.end.offset)  # as if the first segment had ended where it was read
    journal.close()
    assert feeds.departed() == []
