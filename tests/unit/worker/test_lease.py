"""Who may write a name on the volume."""

from pathlib import Path

import pytest

from flashtrial.testing.clock import FakeClock
from flashtrial.worker.install.lease import Lease, LeaseLost

TTL_S = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def acquire(directory: Path, clock: FakeClock) -> Lease:
    lease = Lease.acquire(directory, "name", clock, TTL_S)
    assert lease is not None
    return lease


def test_lease_has_one_holder(tmp_path: Path, clock: FakeClock) -> None:
    lease = acquire(tmp_path, clock)
    assert Lease.acquire(tmp_path, "name", clock, TTL_S) is None
    assert Lease.acquire(tmp_path, "other", clock, TTL_S) is not None
    lease.release()
    assert acquire(tmp_path, clock).epoch == 1


def test_lease_that_is_renewed_is_kept(tmp_path: Path, clock: FakeClock) -> None:
    lease = acquire(tmp_path, clock)
    for _ in range(10):
        clock.advance(TTL_S / 2)
        lease.renew_when_due()
        assert Lease.acquire(tmp_path, "name", clock, TTL_S) is None


def test_lease_of_a_dead_holder_is_taken_over_with_a_higher_epoch(tmp_path: Path, clock: FakeClock) -> None:
    dead = acquire(tmp_path, clock)
    clock.advance(TTL_S)
    heir = acquire(tmp_path, clock)
    assert (dead.epoch, heir.epoch) == (1, 2)
    with pytest.raises(LeaseLost):
        dead.renew_when_due()
    dead.release()  # not its own any more
    heir.check()


def test_late_holder_is_not_mistaken_for_a_later_one_of_the_same_epoch(tmp_path: Path, clock: FakeClock) -> None:
    late = acquire(tmp_path, clock)
    clock.advance(TTL_S)
    acquire(tmp_path, clock).release()
    later = acquire(tmp_path, clock)
    assert late.epoch == later.epoch
    with pytest.raises(LeaseLost):
        late.check()
    late.release()
    later.check()


def test_two_that_find_it_expired_do_not_both_get_it(tmp_path: Path, clock: FakeClock) -> None:
    acquire(tmp_path, clock)
    clock.advance(TTL_S)
    quicker = tmp_path / ".name.lease.2"
    quicker.touch()  # it has not yet written
    clock.set_time_ms(int(quicker.stat().st_mtime * 1000))
    assert Lease.acquire(tmp_path, "name", clock, TTL_S) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"owner": 1}'])
def test_torn_note_expires_by_its_time(tmp_path: Path, clock: FakeClock, content: bytes) -> None:
    note = tmp_path / ".name.lease.7"
    note.write_bytes(content)
    clock.set_time_ms(int((note.stat().st_mtime + TTL_S / 2) * 1000))
    assert Lease.acquire(tmp_path, "name", clock, TTL_S) is None
    clock.advance(TTL_S)
    assert acquire(tmp_path, clock).epoch == 8
    assert not note.exists()
