"""What to send next, and what an answer means. Pure: no I/O, no clock, no state."""

from dataclasses import dataclass

from flashtrial.protocol.records import Batch
from flashtrial.tracking.backends.base import BatchReceipt
from flashtrial.tracking.journal.progress import Cursor, DeadRecord
from flashtrial.tracking.journal.reader import Stretch

REQUEST_BYTES = 768 * 1024  # with its envelope below the megabyte that proxies take
LEAST_SHARE_BYTES = 64 * 1024
NO_LIMIT = 1 << 20  # frames of one journal in one request; its bytes end it sooner


@dataclass(frozen=True, slots=True)
class Parcel:
    """The part of one journal that goes into a request; `cursor` is where it begins."""

    run_id: str
    writer_id: str
    cursor: Cursor
    stretch: Stretch

    @property
    def batch(self) -> Batch:
        return Batch(self.run_id, self.writer_id, self.stretch.data)

    @property
    def end(self) -> Cursor:
        last = self.stretch.marks[-1]
        return Cursor(last.end, last.seq, self.cursor.segment)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one answer means for one journal: where its cursor goes, who is dead, how many frames to send next."""

    cursor: Cursor
    dead: tuple[DeadRecord, ...]
    frame_limit: int


def share_bytes(pending: int, request_bytes: int = REQUEST_BYTES, requests: int = 1) -> int:
    """How much of each of `pending` journals goes into so many requests: all get something, one fills one alone."""
    return min(max(LEAST_SHARE_BYTES, request_bytes * requests // max(pending, 1)), request_bytes)


def settle(parcel: Parcel, receipt: BatchReceipt, now_ms: int) -> Settlement:
    """What a receipt means: the cursor passes the whole parcel, and refused records are dead."""
    if receipt.error is not None:
        return settle_rejected(parcel, receipt.error, now_ms)
    reasons = {refused.seq: refused.reason for refused in receipt.refused}
    dead = tuple(_dead(parcel, seq, reason, now_ms) for seq, reason in sorted(reasons.items()))
    return Settlement(parcel.end, dead, NO_LIMIT)


def settle_rejected(parcel: Parcel, reason: str, now_ms: int) -> Settlement:
    """What it means that a whole parcel was rejected: half of it next time, until the one to blame stands alone."""
    count = len(parcel.stretch.marks)
    if count > 1:
        return Settlement(parcel.cursor, (), count // 2)
    return Settlement(parcel.end, (_dead(parcel, parcel.end.seq, reason, now_ms),), NO_LIMIT)


def why_too_large(parcel: Parcel, reason: str) -> str:
    """Why a record that stands alone in its request does not get through, for who can do something about it.

    It would hold up its whole journal for ever: so it is set aside, although nobody judged what is in it.
    """
    size_bytes = len(parcel.stretch.data)
    return (
        f"{reason}: the record takes {size_bytes} bytes, more than is let through in one request; raise that limit "
        "(nginx: client_max_body_size), or log so much as a file or in parts"
    )


def _dead(parcel: Parcel, seq: int, reason: str, now_ms: int) -> DeadRecord:
    frame = parcel.stretch.frame_of(seq) or b""
    return DeadRecord(parcel.run_id, parcel.writer_id, seq, reason, now_ms, frame)
