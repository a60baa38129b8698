"""What `log` does when the outbox is full, as the settings say; and an outage of an hour, on a clock of the test's."""

import itertools
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from flashtrial.protocol.records import Batch
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.journal.outbox import OutboxFull
from flashtrial.tracking.journal.writer import RunWriter
from flashtrial.tracking.sending.sync import Sync
from flashtrial.tracking.settings.limits import OutboxLimits, WhenFull
from flashtrial.tracking.settings.resolution import Courier, EffectiveSettings
from testkit import wait_until

from .conftest import JournalMaker

OPENING = {"status": "running"}
BODY = {"values": {"x": 1.0}, "padding": "x" * 200}


def writer(outbox: Path, when_full: WhenFull) -> RunWriter:
    """One whose outbox takes some fifty records, and that starts nothing."""
    limits = OutboxLimits(segment_bytes=1024, outbox_bytes=16 * 1024, when_full=when_full)
    settings = EffectiveSettings(
        project="p",
        url=None,
        token=None,
        home=outbox.parent,
        outbox=outbox,
        courier=Courier.WORKER,
        finish_timeout_s=0.0,
        worker_id="worker_1",
        limits=limits,
    )
    made = RunWriter("run_1", settings, OPENING)
    made.open()
    return made


def append_many(run: RunWriter, count: int) -> None:
    for _ in range(count):
        run.append("metric", BODY)


def drain(outbox: Path, backend: MemoryBackend) -> None:
    sync = Sync(outbox, backend, FakeClock())
    while sync.step():
        pass


def seqs(backend: MemoryBackend) -> list[int]:
    return sorted(seq for _, _, seq in backend.stored)


def test_a_full_outbox_raises_where_the_settings_say_so_and_goes_on_when_there_is_room(outbox: Path) -> None:
    run = writer(outbox, WhenFull.RAISE)
    with pytest.raises(OutboxFull, match="has reached 16384 bytes"):
        append_many(run, 200)
    full = run.last_seq
    assert 10 < full < 200
    run.append("state", {"status": "finished"})  # always gets in
    backend = MemoryBackend()
    drain(outbox, backend)
    taken = wait_until(lambda: _takes(run), what="the writer to look for room again")
    assert taken
    run.close()
    drain(outbox, backend)
    assert seqs(backend) == list(range(1, full + 3))
    assert run.lost == 0


def _takes(run: RunWriter) -> bool:
    try:
        run.append("metric", BODY)
    except OutboxFull:
        return False
    return True


def test_a_full_outbox_makes_log_wait_where_the_settings_say_so_and_loses_nothing(outbox: Path) -> None:
    run = writer(outbox, WhenFull.BLOCK)
    thread = threading.Thread(target=append_many, args=(run, 150), daemon=True)
    thread.start()
    backend = MemoryBackend()
    wait_until(lambda: run.last_seq > 10 and _is_at_its_limit(outbox), what="the outbox to be full")
    assert thread.is_alive()
    assert run.last_seq < 150

    def is_through() -> bool:
        drain(outbox, backend)
        return not thread.is_alive()

    wait_until(is_through, 30, "the writer to get through")
    run.close()
    drain(outbox, backend)
    assert seqs(backend) == list(range(1, 152))
    assert run.lost == 0


def _is_at_its_limit(outbox: Path) -> bool:
    return sum(path.stat().st_size for path in outbox.glob("*.journal")) > 16 * 1024 - 300


def test_an_outage_of_an_hour_is_waited_out_with_waits_that_grow_to_half_a_minute(
    outbox: Path, new_journal: JournalMaker
) -> None:
    clock, asked_at = FakeClock(), list[float]()

    def before(_batches: Sequence[Batch]) -> None:
        asked_at.append(clock.monotonic())
        if clock.monotonic() - asked_at[0] < 3600:
            raise Outage("down")

    backend = MemoryBackend(before=before)
    sync = Sync(outbox, backend, clock, rng=random.Random(1))
    journal = new_journal("wr_1")
    polls = set[float]()
    for second in range(3700):
        journal.append("metric", {"values": {"x": float(second)}}, 1000 * second)  # the training goes on
        for _ in range(4):
            sync.step()
            polls.add(sync.poll_s)
            clock.advance(0.25)
    while sync.step():
        pass
    assert seqs(backend) == list(range(1, 3701))
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked_at)]
    during = [pause for pause, at in zip(pauses, asked_at, strict=False) if at - asked_at[0] < 3500]
    assert (min(polls), max(polls)) == (0.05, 0.5), "who waits does not look twenty times a second"
    assert max(during) <= 30.5, "the server is not left alone for longer, once it is there again"
    assert 120 < len(during) < 600, "and is not stormed while it is not"
    first = next(at for at in asked_at if at - asked_at[0] >= 3600)
    assert first - asked_at[0] <= 3631
