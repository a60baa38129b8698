"""Files on their way: every system call and every request of staging, uploading and letting go fails once.

The k-th, for k = 1, 3, 5 … (with a `STRIDE` of 1: all of them, in twice the time). After each fault every file whose
record was written is at the server, whole, and nothing of it is left on the disk.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from flashtrial.protocol.records import JournalHeader
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import Backend
from flashtrial.tracking.backends.native_files import FileBackend
from flashtrial.tracking.journal.outbox import Journal, OutboxUnwritable
from flashtrial.tracking.journal.routes import NATIVE, Destination, Destinations, Route
from flashtrial.tracking.journal.segments import list_segments
from flashtrial.tracking.media import staging
from flashtrial.tracking.media.uploads import FILES, WithFiles
from flashtrial.tracking.sending.feeds import sweep
from flashtrial.tracking.sending.outbox_state import OutboxState
from flashtrial.tracking.sending.sync import Sync
from flashtrial.tracking.settings.address import Address
from testkit.faults import FAULTS
from testkit.tracking_server import tracking_server

pytestmark = pytest.mark.integration

CHUNK_BYTES = 1024
STRIDE = 2


class FaultyPool(urllib3.PoolManager):
    """Breaks before a request, or after its answer was given."""

    def request(self, *arguments: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        self._may_break()
        answer = super().request(*arguments, **options)
        try:
            self._may_break()
        except urllib3.exceptions.HTTPError:
            answer.close()
            raise
        return answer

    def _may_break(self) -> None:
        if FAULTS.request_fails():
            raise urllib3.exceptions.ProtocolError("the line broke")


class Story:
    """One writer that logs files, and both couriers of its outbox. What fails is tried again when the fault is over."""

    def __init__(self, outbox: Path, address: Address, number: int) -> None:
        self.outbox = outbox
        self.address = address
        self.number = number
        self.clock = FakeClock()
        self.records = MemoryBackend()
        self.kept: list[staging.Staged] = []
        self.journal: Journal | None = None
        self.couriers: list[Sync] = []
        self.find = WithFiles(Destinations(), outbox)
        self.state = OutboxState(outbox, self.clock)
        self.files = self.new_files()

    def tell(self) -> None:
        small, large = f"{self.number:010}".encode(), f"{self.number:08}".encode() * (CHUNK_BYTES // 4)
        source = self.outbox.parent / f"source-{self.number}"
        source.write_bytes(large)
        self.log(lambda: staging.stage_bytes(self.outbox, small))
        self.step()
        self.log(lambda: staging.stage_file(self.outbox, source))
        self.log(lambda: staging.stage_bytes(self.outbox, small))
        self.step()

    def log(self, stage: Callable[[], staging.Staged]) -> None:
        """As a run does: first the bytes are kept, then the record that names them is written."""
        try:
            self.journal = self.journal or Journal.create(self.outbox, JournalHeader("run_1", "wr_1", {}))
            staged = stage()
            body = {"name": "f", "size": staged.size_bytes, "sha256": staged.sha256, "staged": staged.ref}
            self.journal.append("file", body, 5)
            self.kept.append(staged)
        except OutboxUnwritable:
            pass

    def step(self) -> None:
        """As the sync process does: what the disk makes fail ends it, and the next one begins anew."""
        self.clock.advance(31)
        try:
            if not self.couriers:
                self.begin()
            if self.find.have_appeared():
                self.couriers.append(self.courier(FILES, self.files))
            for courier in self.couriers:
                while courier.step():
                    pass
        except OSError:
            self.couriers = []

    def begin(self) -> None:
        sweep(self.outbox)
        self.find = WithFiles(Destinations(), self.outbox)
        self.state = OutboxState(self.outbox, self.clock)
        self.close_files()
        self.files = self.new_files()
        self.couriers = [self.courier(NATIVE, self.records)]

    def courier(self, name: str, backend: Backend) -> Sync:
        route = Route(Destination(name), self.find)
        return Sync(self.outbox, backend, self.clock, route=route, state=self.state)

    def new_files(self) -> FileBackend:
        backend = FileBackend(self.outbox, lambda: self.address, self.find)
        backend._client._chunk_bytes = CHUNK_BYTES
        backend._client._pool = FaultyPool(num_pools=2, retries=False)
        return backend

    def close_files(self) -> None:
        """As `Couriers.close` does."""
        self.files.close()
        staging.sweep(self.outbox, has_journals=bool(list_segments(self.outbox)))

    def end(self) -> None:
        """The fault is over; the writer ends and everything is sent."""
        assert self.journal is not None
        self.journal.close()
        for _ in range(4):
            self.step()

    def check(self) -> None:
        assert len(self.kept) >= 2, "one fault costs one file at most"
        assert [record.body["sha256"] for record in self.records.records("run_1")] == [
            each.sha256 for each in self.kept
        ]
        for staged in {each.sha256: each for each in self.kept}.values():
            assert self.files._client.begin(staged.sha256, staged.size_bytes, "run_1").is_complete
        assert not list(self.outbox.glob("*.journal*"))
        self.close_files()
        assert not staging.files_dir(self.outbox).exists()


def test_each_system_call_and_each_request_of_files_may_fail_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ABANDONED_AFTER_S", -1.0)  # what no record names is swept at once
    number = 1 - STRIDE
    with tracking_server(tmp_path / "server") as server:
        address = Address(f"http://127.0.0.1:{server.port}")
        while number < 0 or FAULTS.has_fired:
            number += STRIDE
            story = Story(tmp_path / f"outbox-{number}", address, number)
            story.outbox.mkdir()
            with FAULTS.fail(story.outbox, number):
                story.tell()
            story.end()
            story.check()
    assert number > 60  # so many there are
