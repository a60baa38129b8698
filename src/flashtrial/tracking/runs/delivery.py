"""What `finish` says: how many records are where, after waiting a while for the sync process."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.journal.outbox import cursor_path, dead_path, is_locked, lock_path
from flashtrial.tracking.journal.progress import read_cursor, read_dead, read_status
from flashtrial.tracking.media.uploads import FILES, pending_files

DESTINATION = "native"
POLL_S = 0.01
LOOK_EVERY_S = 1.0
OUTAGE_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class FinishReport:
    """How a run ended in this process, and where its records are: `written` = `sent` + `refused` + `pending`.

    `lost` records never reached the disk. Pending ones are on the disk and are sent by the sync process, now or after
    a later start; `outage` says why they wait, where that is known. Inside a worker (`is_in_worker`) that is the
    ordinary course: the worker's sync process outlives the call, and nobody waited for it. `files_pending` files are
    staged on the disk and their bytes not at the server yet; `files_refused` it will never take.
    """

    run_id: str
    url: str
    status: RunStatus
    written: int
    sent: int
    refused: int
    pending: int
    lost: int
    outage: str | None
    is_in_worker: bool = False
    files_pending: int = 0
    files_refused: int = 0

    def __str__(self) -> str:
        parts = self._left_to_the_worker() if self.pending and self.is_in_worker else self._sent()
        if self.refused:
            parts.append(f"{self.refused} were refused and set aside")
        if self.files_pending:
            parts.append(f"{_count(self.files_pending, 'file')} to be uploaded yet")
        if self.files_refused:
            parts.append(f"{_count(self.files_refused, 'file')} refused and set aside")
        if self.lost:
            parts.append(f"{self.lost} could not be written and are lost")
        return f"run {self.run_id} {self.status}: {'; '.join(parts)}; {self.url}"

    def _sent(self) -> list[str]:
        parts = [f"{self.sent} of {self.written} records sent"]
        if self.pending:
            parts.append(f"{self.pending} wait on this disk" + (f" ({self.outage})" if self.outage else ""))
        return parts

    def _left_to_the_worker(self) -> list[str]:
        written = f"{self.written} records written" + (f", {self.sent} of them sent already" if self.sent else "")
        rest = "the rest" if self.sent else "them"
        when = f" once it can (now: {self.outage})" if self.outage else ""
        return [written, f"the worker's sync process delivers {rest}{when}"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far one writer's records have come."""

    sent: int
    refused: int
    pending: int
    outage: str | None
    files_pending: int = 0
    files_refused: int = 0


def wait_for_all(
    outbox: Path, writers: Mapping[str, int], timeout_s: float, see_to_sync: Callable[[], None]
) -> Delivery:
    """`wait_for_delivery` of several writers, each with its last sequence number, within `timeout_s` together."""
    ends = time.monotonic() + timeout_s
    each = [
        wait_for_delivery(outbox, writer_id, last_seq, max(ends - time.monotonic(), 0.0), see_to_sync)
        for writer_id, last_seq in writers.items()
    ]
    return Delivery(
        sent=sum(one.sent for one in each),
        refused=sum(one.refused for one in each),
        pending=sum(one.pending for one in each),
        outage=next((one.outage for one in each if one.outage), None),
        files_pending=sum(one.files_pending for one in each),
        files_refused=sum(one.files_refused for one in each),
    )


def wait_for_delivery(
    outbox: Path, writer_id: str, last_seq: int, timeout_s: float, see_to_sync: Callable[[], None]
) -> Delivery:
    """How far records 1 to `last_seq` have come, at the latest after `timeout_s` seconds.

    Looks once in any case. When the sync process says that nothing goes through, waits `OUTAGE_PATIENCE_S` at most.
    `see_to_sync` is called about once a second of waiting: a sync process may have been killed.
    """
    started = time.monotonic()
    next_look_s = 0.0
    has_files = pending_files(outbox, writer_id) > 0
    while (settled := _settled(outbox, writer_id, last_seq)) < last_seq or (
        has_files and _settled(outbox, writer_id, last_seq, FILES) < last_seq
    ):
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s or (waited_s >= OUTAGE_PATIENCE_S and _outage(outbox)):
            break
        if waited_s >= next_look_s:
            see_to_sync()
            next_look_s = waited_s + LOOK_EVERY_S
        time.sleep(min(POLL_S, timeout_s))
    refused = len(read_dead(dead_path(outbox, writer_id, DESTINATION)))
    pending = max(last_seq - settled, 0)
    return Delivery(
        max(settled - refused, 0),
        refused,
        pending,
        _reason(outbox, timeout_s) if pending else None,
        files_pending=pending_files(outbox, writer_id) if has_files else 0,
        files_refused=len(read_dead(dead_path(outbox, writer_id, FILES))),
    )


def _settled(outbox: Path, writer_id: str, last_seq: int, destination: str = DESTINATION) -> int:
    """How far the writer's records have come; to the end when all is gone from the disk, as it is once that is so."""
    settled = read_cursor(cursor_path(outbox, writer_id, destination)).seq
    return settled if settled or any(outbox.glob(f"{writer_id}.*")) else last_seq


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _reason(outbox: Path, waited_s: float) -> str | None:
    """Why records still wait, as far as is known; a sync process has had time to start after a while."""
    outage = _outage(outbox)
    if outage is None and waited_s >= OUTAGE_PATIENCE_S and not is_locked(lock_path(outbox), shared=False):
        return "nobody sends them: no sync process stays up; sync.log in the home's logs says why"
    return outage


def _outage(outbox: Path) -> str | None:
    status = read_status(outbox)
    return status.outage if status else None
