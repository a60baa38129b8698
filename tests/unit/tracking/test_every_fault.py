"""Every system call and every request of writer and sync process fails once, the k-th for k = 1, 2, 3 …

`testkit.faults` makes them fail; a limit on the size of files makes each write fail at each byte. After each fault: all
that was acknowledged is stored once, whatever was said to have failed is not, and nothing is left behind. Integration
tests have each write and fsync (`test_disks_that_fail.py`), and files on their way (`test_every_fault_of_files.py`).
"""

import contextlib
import os
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from flashtrial.protocol.records import Batch, JournalHeader
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.journal.outbox import Journal, OutboxUnwritable
from flashtrial.tracking.sending.feeds import sweep
from flashtrial.tracking.sending.sync import Sync
from flashtrial.tracking.settings.limits import OutboxLimits
from testkit.faults import FAULTS

SMALL = OutboxLimits(segment_bytes=1024)
RECORDS = 10


def _request(_batches: Sequence[Batch]) -> None:
    if FAULTS.request_fails():
        raise Outage("the line broke")


class Story:
    """One writer and a sync process beside it. What fails is tried again when the fault is over."""

    def __init__(self, outbox: Path) -> None:
        self.outbox = outbox
        self.clock = FakeClock()
        self.backend = MemoryBackend(before=_request, after=_request)
        self.acknowledged: list[float] = []
        self.refused: list[float] = []
        self.journal: Journal | None = None
        self.sync: Sync | None = None

    def tell(self) -> None:
        """Appends and steps of sending in turn, whatever fails."""
        for number in range(RECORDS):
            self.append(float(number))
            if number % 3 == 0:
                self.step()

    def append(self, value: float) -> None:
        try:
            header = JournalHeader("run_1", "wr_1", {})
            self.journal = self.journal or Journal.create(self.outbox, header, SMALL)
            self.journal.append("metric", {"values": {"x": value}, "padding": "x" * 200}, 5)
            self.acknowledged.append(value)
        except OutboxUnwritable:
            self.refused.append(value)

    def step(self) -> None:
        """As the process does: what the disk makes fail ends it, and the next one begins anew."""
        self.clock.advance(31)
        try:
            if self.sync is None:
                sweep(self.outbox)
                self.sync = Sync(self.outbox, self.backend, self.clock)
            while self.sync.step():
                pass
        except OSError:
            self.sync = None

    def end(self) -> None:
        """The fault is over; the writer ends and everything is sent."""
        self.append(-1.0)
        assert self.journal is not None
        self.journal.close()
        for _ in range(4):
            self.step()

    def check(self) -> None:
        stored = [record.body["values"]["x"] for record in self.backend.records("run_1")]
        assert stored == self.acknowledged
        assert [seq for *_, seq in sorted(self.backend.stored)] == list(range(1, len(stored) + 1))
        assert self.acknowledged[-1] == -1.0
        assert len(self.refused) <= 1
        sweep(self.outbox)  # as the next start does
        assert {path.name for path in self.outbox.iterdir()} <= {"sync.json", f".sync.json.{os.getpid()}"}


def test_each_system_call_and_each_request_may_fail_once(tmp_path: Path) -> None:
    number = 0
    while number == 0 or FAULTS.has_fired:
        number += 1
        story = Story(tmp_path / f"outbox-{number}")
        story.outbox.mkdir()
        with FAULTS.fail(story.outbox, number):
            story.tell()
        story.end()
        story.check()
    assert number > 100  # so many there are


@contextlib.contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond that within the block: a write is cut there, and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_each_write_may_be_cut_at_many_a_byte(tmp_path: Path) -> None:
    for size_bytes in range(0, 1300, 31):
        story = Story(tmp_path / f"outbox-{size_bytes}")
        story.outbox.mkdir()
        for value in range(3):
            story.append(float(value))
        with files_of_at_most(size_bytes):
            story.tell()
        story.end()
        stored = [record.body["values"]["x"] for record in story.backend.records("run_1")]
        assert stored == story.acknowledged
        assert not list(story.outbox.glob("*.journal*"))
