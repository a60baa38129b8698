"""What the sync process does beside sending is done in time also where there is always something to send."""

from collections.abc import Sequence
from pathlib import Path

from flashtrial.protocol.records import Batch, JournalHeader
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import WriterNotice
from flashtrial.tracking.journal.outbox import Journal
from flashtrial.tracking.sending.sync import Sync
from flashtrial.tracking.settings.limits import OutboxLimits


class BusyBackend(MemoryBackend):
    """A server at whose every request of a tenth of a second a trainer has logged some more."""

    def __init__(self, trainer: Journal, clock: FakeClock) -> None:
        super().__init__()
        self.gone: list[str] = []
        self._trainer = trainer
        self._clock = clock
        self.before = self._go_on

    def beat(self, notices: Sequence[WriterNotice], every_s: float) -> bool:
        assert every_s > 0
        for notice in notices:
            if not notice.is_alive:
                self.gone.append(notice.run_id)
                assert notice.last_seq == len(self.records(notice.run_id)), "not all of it is there yet"
        return True

    def _go_on(self, _batches: Sequence[Batch]) -> None:
        self._clock.advance(0.1)
        self._trainer.append("metric", {"values": {"x": 1.0}, "padding": "x" * 400}, 5)


def test_deaths_are_told_of_and_what_arrived_is_removed(outbox: Path) -> None:
    dead = Journal.create(outbox, JournalHeader("run_dead", "wr_dead", {}))
    for _ in range(100):  # several requests and a second or two
        dead.append("data", {"name": "n", "type": "string", "step": 1, "value": "a" * 100_000}, 5)
    dead.close()
    trainer = Journal.create(outbox, JournalHeader("run_1", "wr_1", {}), OutboxLimits(segment_bytes=1024))
    clock = FakeClock()
    backend = BusyBackend(trainer, clock)
    sync = Sync(outbox, backend, clock)
    trainer.append("state", {"status": "running"}, 5)
    assert all(sync.step() for _ in range(40)), "there was nothing to send for once"
    assert backend.gone == ["run_dead"]
    assert len(backend.records("run_dead")) == 100
    assert not (outbox / "wr_dead.journal").exists()
    assert len(list(outbox.glob("wr_1*.journal"))) < 10, "of forty records, two in a segment"
    trainer.close()
