"""A destination that takes records one run at a time, by requests of its own: the part that all such share.

It remembers, while it lives, what it has delivered, so that an outage in the middle repeats nothing. After a restart
the sync process's cursor repeats at most one request's worth, and what that does is up to each destination.
"""

import abc
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

from flashtrial.protocol.records import Batch, DamagedFrame, Record, decode_record, read_frames
from flashtrial.tracking.backends.base import BatchReceipt, RefusedRecord

SEND_BUDGET_S = 20.0
SLICE_RECORDS = 500

Writer: TypeAlias = "tuple[str, str]"


class Taken:
    """The sequence numbers of one writer that are settled: all up to `floor`, and some above."""

    def __init__(self) -> None:
        self._floor = 0
        self._above: set[int] = set()

    def __contains__(self, seq: int) -> bool:
        return seq <= self._floor or seq in self._above

    def add(self, seq: int) -> None:
        self._above.add(seq)
        while self._floor + 1 in self._above:
            self._floor += 1
            self._above.discard(self._floor)


class RecordBackend(abc.ABC):
    """See `Backend`. Used by one thread."""

    name: str

    def __init__(self) -> None:
        self._taken: defaultdict[Writer, Taken] = defaultdict(Taken)

    @abc.abstractmethod
    def deliver(self, run_id: str, records: Sequence[Record]) -> list[RefusedRecord]:
        """Bring records of one writer, in order. Those not in the answer are stored. Raises `Outage`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections. Calling twice is safe."""

    def send(self, batches: Sequence[Batch]) -> tuple[BatchReceipt, ...]:
        """See `Backend.send`."""
        deadline = time.monotonic() + SEND_BUDGET_S
        return tuple(self._send_one(batch, deadline) for batch in batches)

    def _send_one(self, batch: Batch, deadline: float) -> BatchReceipt:
        try:
            records = [
                decode_record(batch.run_id, batch.writer_id, payload) for payload, _ in read_frames(batch.frames)
            ]
        except DamagedFrame as error:
            return BatchReceipt(error=str(error))
        taken = self._taken[batch.run_id, batch.writer_id]
        fresh = [record for record in records if record.seq not in taken]
        refused: list[RefusedRecord] = []
        for start in range(0, len(fresh), SLICE_RECORDS):
            if time.monotonic() > deadline:
                return BatchReceipt(start - len(refused), 0, tuple(refused), is_unfinished=True)
            part = fresh[start : start + SLICE_RECORDS]
            refused += self.deliver(batch.run_id, part)
            for record in part:
                taken.add(record.seq)
        return BatchReceipt(len(fresh) - len(refused), len(records) - len(fresh), tuple(refused))
