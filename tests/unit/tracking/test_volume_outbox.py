"""Outboxes on a network volume: who sends, who takes over, and what is not removed too early."""

import os
import threading
import time
from pathlib import Path

import pytest

from flashtrial.core.files import Locked
from flashtrial.core.lease import Lease, LeaseLost
from flashtrial.protocol.records import JournalHeader
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.journal.outbox import Journal
from flashtrial.tracking.sending.sync import Sync
from flashtrial.tracking.sending.sync_main import sync_outbox
from flashtrial.tracking.sending.volume import (
    LEASE_S,
    SILENT_S,
    adoptable,
    hold_lease,
    is_leased,
    may_remove_adopted,
    volume_outbox,
)


def leave_records(outbox: Path) -> Path:
    journal = Journal.create(outbox, JournalHeader("run_1", "wr_1", {}))
    journal.append("metric", {"values": {"x": 1.0}}, 5)
    journal.close()
    return journal.path


def test_the_outbox_of_a_worker_that_went_silent_is_free_for_others_to_adopt(tmp_path: Path) -> None:
    own, other = volume_outbox(tmp_path, "own"), volume_outbox(tmp_path, "other")
    assert is_leased(other)
    assert adoptable(own) == []  # nothing is in it
    leave_records(other)
    clock = FakeClock(time_ms=int(time.time() * 1000))
    held = Lease.acquire(other, "sync", clock, LEASE_S, owner="another machine")
    assert held is not None
    assert adoptable(own) == []
    with pytest.raises(Locked), hold_lease(other, clock):
        pass
    [lease] = other.glob(".sync.lease.*")
    clock.advance(LEASE_S)
    os.utime(lease, (0, 0))
    assert adoptable(own) == [other]
    with hold_lease(other, clock) as taken:
        assert taken.epoch == held.epoch + 1
        with pytest.raises(LeaseLost):  # the silent one comes back and is fenced off
            held.renew_when_due()


def test_the_same_machine_does_not_wait_for_the_lease_of_its_own_killed_process(tmp_path: Path) -> None:
    outbox = volume_outbox(tmp_path, "own")
    clock = FakeClock()
    with hold_lease(outbox, clock) as killed, hold_lease(outbox, clock) as again:
        assert again.epoch == killed.epoch + 1


def test_an_adopted_journal_is_sent_at_once_and_removed_when_nobody_has_written_for_an_hour(tmp_path: Path) -> None:
    outbox = volume_outbox(tmp_path, "other")
    path = leave_records(outbox)
    backend = MemoryBackend()
    sync = Sync(outbox, backend, FakeClock(), may_remove=may_remove_adopted)
    while sync.step():
        pass
    assert len(backend.stored) == 1
    assert path.exists()
    long_ago = time.time() - SILENT_S - 1
    os.utime(path, (long_ago, long_ago))
    sync.step()
    assert not path.exists()
    assert sync.is_idle()


def test_a_leased_outbox_is_synced_by_who_gets_the_lease_alone(tmp_path: Path) -> None:
    outbox = volume_outbox(tmp_path, "own")
    clock = FakeClock(time_ms=int(time.time() * 1000))
    assert Lease.acquire(outbox, "sync", clock, LEASE_S, owner="another machine")
    leave_records(outbox)
    sync_outbox(outbox, tmp_path, {}, threading.Event())  # returns: it is not ours
    assert not (outbox / "sync.json").exists()
