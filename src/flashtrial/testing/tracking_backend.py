"""A destination of records in memory, with the effects of the real server and faults on request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flashtrial.protocol.records import Batch, DamagedFrame, Record, decode_record, read_frames
from flashtrial.tracking.backends.base import BatchReceipt, RefusedRecord


@dataclass(slots=True)
class MemoryBackend:
    """Takes each record once, by (run, writer, sequence number), as the server does.

    `refuses` gives the reason to refuse a record, or None. `before` is called with each request before anything of it
    is taken, `after` when all is taken but the receipt is not out yet: raise `Outage` there to be a network that fails.
    """

    name: str = "native"
    refuses: Callable[[Record], str | None] = lambda _record: None
    before: Callable[[Sequence[Batch]], None] = lambda _batches: None
    after: Callable[[Sequence[Batch]], None] = lambda _batches: None
    stored: dict[tuple[str, str, int], Record] = field(default_factory=dict)
    requests: int = 0

    def send(self, batches: Sequence[Batch]) -> tuple[BatchReceipt, ...]:
        self.requests += 1
        self.before(batches)
        receipts = tuple(self._take(batch) for batch in batches)
        self.after(batches)
        return receipts

    def close(self) -> None:
        """Nothing is held."""

    def records(self, run_id: str) -> list[Record]:
        """What is stored of a run, by writer and sequence number."""
        return [record for (run, _, _), record in sorted(self.stored.items()) if run == run_id]

    def _take(self, batch: Batch) -> BatchReceipt:
        stored = duplicates = 0
        refused: list[RefusedRecord] = []
        try:
            for payload, _ in read_frames(batch.frames):
                record = decode_record(batch.run_id, batch.writer_id, payload)
                key = (record.run_id, record.writer_id, record.seq)
                if (reason := self.refuses(record)) is not None:
                    refused.append(RefusedRecord(record.seq, reason))
                elif key in self.stored:
                    duplicates += 1
                else:
                    self.stored[key] = record
                    stored += 1
        except DamagedFrame as error:
            return BatchReceipt(error=str(error))
        return BatchReceipt(stored, duplicates, tuple(refused))
