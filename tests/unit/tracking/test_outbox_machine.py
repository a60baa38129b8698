"""The outbox under any order of appending, dying, sending, failing: nothing lost, nothing doubled, order kept."""

import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flashtrial.protocol.records import Batch, JournalHeader, Record
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import Outage, Rejected
from flashtrial.tracking.journal.outbox import Journal, dead_path
from flashtrial.tracking.journal.progress import read_dead
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.sending.feeds import sweep
from flashtrial.tracking.sending.sync import Sync
from flashtrial.tracking.settings.limits import OutboxLimits

SMALL = OutboxLimits(segment_bytes=1024)  # a handful of records
PADDED = {"step": 0, "padding": "x" * 200}


class Killed(BaseException):
    """The sync process dies here."""


class OutboxMachine(RuleBasedStateMachine):
    """Writers append and die; the sync process sends, fails, dies and starts again; the destination refuses some."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.clock = FakeClock()
        self.fault: str | None = None
        self.backend = MemoryBackend(refuses=self._refuses, before=self._before, after=self._after)
        self.sync = self._new_sync()
        self.writers: dict[str, Journal] = {}
        self.appended: dict[str, list[float]] = {}
        self.count = 0

    @rule()
    @precondition(lambda self: len(self.writers) < 4)
    def start_writer(self) -> None:
        writer_id = f"wr_{len(self.appended)}"
        self.writers[writer_id] = Journal.create(self.outbox, JournalHeader("run", writer_id, {}), SMALL)
        self.appended[writer_id] = []

    @rule(data=st.data(), count=st.integers(1, 5), kind=st.sampled_from(["fine", "fine", "refused", "poison"]))
    @precondition(lambda self: self.writers)
    def append(self, data: st.DataObject, count: int, kind: str) -> None:
        writer_id = data.draw(st.sampled_from(sorted(self.writers)))
        for _ in range(count):
            self.count += 1
            self.writers[writer_id].append("metric", {**PADDED, "values": {kind: float(self.count)}}, 5)
            self.appended[writer_id].append(float(self.count))

    @rule(data=st.data(), torn=st.integers(0, 30))
    @precondition(lambda self: self.writers)
    def kill_writer(self, data: st.DataObject, torn: int) -> None:
        """A writer dies while it writes one more record, of which `torn` bytes come to the file."""
        writer_id = data.draw(st.sampled_from(sorted(self.writers)))
        journal = self.writers.pop(writer_id)
        path, size = journal.path, journal.path.stat().st_size
        journal.append("metric", {**PADDED, "values": {"never returned": 0.0}}, 5)
        if journal.path != path:  # killed in a new segment, of which the header is whole in any case
            size = JournalReader.open(journal.path).first_frame
        assert journal.path.stat().st_size > size + 30
        os.truncate(journal.path, size + torn)
        journal.close()

    @rule(fault=st.sampled_from([None, None, "down", "lost receipt", "killed before", "killed after"]))
    def send(self, fault: str | None) -> None:
        self.fault = fault
        self.clock.advance(31)
        try:
            self.sync.step()
        except Killed:
            self.sync = self._new_sync()
        self.fault = None

    @invariant()
    def nothing_arrives_that_was_not_appended_or_out_of_order(self) -> None:
        for writer_id, values in self.appended.items():
            arrived = {seq: record for (_, writer, seq), record in self.backend.stored.items() if writer == writer_id}
            for seq, record in arrived.items():
                assert list(record.body["values"].values()) == [values[seq - 1]]

    def teardown(self) -> None:
        try:
            for journal in self.writers.values():
                journal.close()
            self.fault = None
            self.clock.advance(31)
            while self.sync.step():
                pass
            assert self.sync.is_idle()
            self._everything_arrived_once()
            assert not list(self.outbox.glob("*.journal*"))
        finally:
            shutil.rmtree(self.outbox)

    def _everything_arrived_once(self) -> None:
        for writer_id, values in self.appended.items():
            dead = {record.seq for record in read_dead(dead_path(self.outbox, writer_id, "native"))}
            stored = {seq for _, writer, seq in self.backend.stored if writer == writer_id}
            assert stored | dead == set(range(1, len(values) + 1))
            assert not stored & dead

    def _new_sync(self) -> Sync:
        sweep(self.outbox)
        return Sync(self.outbox, self.backend, self.clock, rng=random.Random(1))

    def _refuses(self, record: Record) -> str | None:
        return "refused" if "refused" in record.body["values"] else None

    def _before(self, batches: Sequence[Batch]) -> None:
        if self.fault == "killed before":
            raise Killed
        if self.fault == "down":
            raise Outage("down")
        if any(b"poison" in batch.frames for batch in batches):
            raise Rejected("poison")

    def _after(self, _batches: Sequence[Batch]) -> None:
        if self.fault == "killed after":
            raise Killed
        if self.fault == "lost receipt":
            raise Outage("the line broke")


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
