"""What a neighbour's client says, written as our records by the same way as everybody's, each line at most once.

A client of a protocol without ids sends a batch again when no answer came. So a line is known by a digest of its
content, and the sequence number it got the first time is its number for ever: the repository knows the rest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

import ormsgpack

from flashtrial.core.clock import Clock
from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import RecordKind
from flashtrial.server.ingest_body import ParsedBatch, Refusal
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.records import Refused, StoredRecord, parse_record
from flashtrial.server.repository import Repository

COMMIT_TIMEOUT_S = 30.0
_DIGEST_BYTES = 16


class NotStored(FlashtrialError):
    """Raised when it is not known whether the records were stored: the client should send them again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record to be. With `once`, whatever is said a second time in the same words is not stored again."""

    kind: RecordKind
    time_ms: int
    body: Mapping[str, Any]
    once: bool = False

    @property
    def digest(self) -> bytes | None:
        if not self.once:
            return None
        words = ormsgpack.packb([self.kind.value, self.time_ms, self.body])
        return hashlib.blake2b(words, digest_size=_DIGEST_BYTES).digest()


class Recorder:
    """Writes for one protocol, as one writer of each run. From any thread."""

    def __init__(self, repository: Repository, ledger: Ledger, clock: Clock, protocol: str) -> None:
        self._repository = repository
        self._ledger = ledger
        self._clock = clock
        self._protocol = protocol

    def now_ms(self) -> int:
        """The server's time, for what a client says without one."""
        return self._clock.time_ms()

    def write(self, run_id: str, entries: Sequence[Entry]) -> list[str]:
        """The reasons for which some were refused; the rest is committed. Raises `NotStored`.

        Raises `QueueFull` and `NotRunning` as `Repository.ingest` does, and `sqlite3.Error`.
        """
        seqs = self._ledger.number_lines(run_id, self._protocol, [entry.digest for entry in entries])
        records: list[StoredRecord] = []
        refused: list[Refusal] = []
        for seq, entry in zip(seqs, entries, strict=True):
            try:
                records.append(parse_record(seq, entry.kind, entry.time_ms, dict(entry.body)))
            except Refused as error:
                refused.append(Refusal(seq, str(error)))
        if records:
            refused += self._commit(ParsedBatch(run_id, self._writer_id, tuple(records)))
        return list(dict.fromkeys(refusal.reason for refusal in refused))

    def sign_of_life(self, run_id: str) -> None:
        """Note that the run's client was heard of. Raises as `write` does."""
        self._commit(ParsedBatch(run_id, self._writer_id, ()))

    @property
    def _writer_id(self) -> str:
        return f"{self._protocol}-{self._ledger.epoch}"

    def _commit(self, batch: ParsedBatch) -> tuple[Refusal, ...]:
        """What was not stored: all of it, where somebody removes the run meanwhile."""
        try:
            [result] = self._repository.ingest([batch]).result(COMMIT_TIMEOUT_S)
        except FutureTimeout as error:
            raise NotStored(f"the disk took longer than {COMMIT_TIMEOUT_S:g} s: send it again") from error
        return result.refused
