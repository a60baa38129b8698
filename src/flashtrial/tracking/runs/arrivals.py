"""How far a run's records have come, at each destination, and waiting until they are there.

Read from what the sync process leaves on the disk; nobody is asked over the network. Standard library only.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flashtrial.tracking.journal.outbox import cursor_path, dead_path, is_locked, lock_path
from flashtrial.tracking.journal.progress import dropped_path, read_cursor, read_dead, read_dropped, read_status
from flashtrial.tracking.journal.routes import NATIVE, Destination
from flashtrial.tracking.journal.segments import list_segments
from flashtrial.tracking.media.uploads import FILES, pending_files, unsettled_files
from flashtrial.tracking.settings.address import without_users

POLL_S = 0.01
LOOK_EVERY_S = 1.0
OUTAGE_PATIENCE_S = 3.0
NOBODY = "nobody sends them: no sync process stays up; sync.log in the home's logs says why"


@dataclass(frozen=True, slots=True)
class Arrival:
    """How many records are at one destination, were refused by it, and wait for it; `outage` says why, if known."""

    destination: str
    sent: int
    refused: int
    pending: int
    outage: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far the records of some writers have come, at each destination and at all of them together.

    `sent`: each destination has them. `refused`: one of them never takes them. `dropped`: a full outbox had no room
    for them any more. The rest is `pending`.
    """

    arrivals: tuple[Arrival, ...]
    sent: int
    refused: int
    pending: int
    dropped: int = 0
    files_pending: int = 0
    files_refused: int = 0

    @property
    def outage(self) -> str | None:
        """Why records wait, where that is known; with several destinations, the first that is known to be out."""
        return next((each.outage for each in self.arrivals if each.outage), None)


def wait_for_delivery(
    outbox: Path,
    writers: Mapping[str, int],
    destinations: Sequence[Destination],
    timeout_s: float,
    see_to_sync: Callable[[], None],
    *,
    patience_s: float = OUTAGE_PATIENCE_S,
    look_every_s: float = LOOK_EVERY_S,
) -> Delivery:
    """How far the records of `writers` (by id, with their last sequence numbers) are, after `timeout_s` at the latest.

    Looks once in any case. One wait for all: it ends early when everything is there, and after `patience_s` when
    only such destinations are left to which nothing goes through. `see_to_sync` is called every `look_every_s` of
    waiting: a sync process may have been killed.
    """
    look = _Look(outbox, writers, destinations)
    started = time.monotonic()
    waited_s = next_look_s = 0.0
    while behind := look.behind():
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s or (waited_s >= patience_s and behind <= look.outages().keys()):
            break
        if waited_s >= next_look_s:
            see_to_sync()
            next_look_s = waited_s + look_every_s
        time.sleep(min(POLL_S, timeout_s))
    # A sync process has had time to start after a while.
    return look.delivery(may_be_missed=waited_s < patience_s)


class _Look:
    """What is on the disk about some writers and destinations."""

    def __init__(self, outbox: Path, writers: Mapping[str, int], destinations: Sequence[Destination]) -> None:
        self._outbox = outbox
        self._writers = {writer_id: last_seq for writer_id, last_seq in writers.items() if writer_id}
        self._destinations = destinations
        self._files = [Destination(FILES, each.url) for each in destinations if each.name == NATIVE]
        self._has_files = bool(self._files) and any(unsettled_files(outbox, each) for each in self._writers)

    def behind(self) -> set[Destination]:
        """The destinations that do not have all yet, that of the files among them."""
        every = [*self._destinations, *(self._files if self._has_files else ())]
        return {each for each in every if any(self._settled(*writer, each) < writer[1] for writer in self._each())}

    def outages(self) -> dict[Destination, str]:
        """The destinations to which nothing goes through, with the reason; only a sync process that lives knows it."""
        status = read_status(self._outbox) if self._has_sync() else None
        if status is None:
            return {}
        said = {each: status.outages.get(str(each)) for each in (*self._destinations, *self._files)}
        return {each: without_users(reason) for each, reason in said.items() if reason}

    def delivery(self, *, may_be_missed: bool) -> Delivery:
        """How things are now; a sync process that is not there is worth a word unless it `may_be_missed`."""
        outages = self.outages()
        unknown = None if may_be_missed or self._has_sync() else NOBODY
        each = [self._together(writer_id, last_seq) for writer_id, last_seq in self._each()]
        return Delivery(
            arrivals=tuple(self._arrival(name, outages.get(name, unknown)) for name in self._destinations),
            sent=sum(one.sent for one in each),
            refused=sum(one.refused for one in each),
            pending=sum(one.pending for one in each),
            dropped=sum(one.dropped for one in each),
            files_pending=sum(pending_files(self._outbox, writer_id) for writer_id in self._writers)
            if self._has_files
            else 0,
            files_refused=sum(len(self._dead(writer_id, [FILES])) for writer_id in self._writers) if self._files else 0,
        )

    def _arrival(self, destination: Destination, outage: str | None) -> Arrival:
        counts = [self._counted(*writer, [destination]) for writer in self._each()]
        pending = sum(count.pending for count in counts)
        return Arrival(
            destination.name,
            sum(count.sent for count in counts),
            sum(count.refused for count in counts),
            pending,
            outage if pending else None,
        )

    def _together(self, writer_id: str, last_seq: int) -> "_Count":
        return self._counted(writer_id, last_seq, self._destinations)

    def _counted(self, writer_id: str, last_seq: int, destinations: Sequence[Destination]) -> "_Count":
        """The records of one writer, each counted once, by what is so at all of `destinations`."""
        settled = min((self._settled(writer_id, last_seq, each) for each in destinations), default=last_seq)
        dead = self._dead(writer_id, [each.name for each in destinations])
        dropped = read_dropped(dropped_path(self._outbox, writer_id))
        gone_before = sum(seq <= settled for seq in dead) + sum(each.count for each in dropped if each.first <= settled)
        gone = len(dead) + sum(each.count for each in dropped)
        return _Count(
            sent=max(settled - gone_before, 0),
            refused=len(dead),
            pending=max(last_seq - settled - (gone - gone_before), 0),
            dropped=gone - len(dead),
        )

    def _settled(self, writer_id: str, last_seq: int, destination: Destination) -> int:
        """How far a destination has come; to the end when the journal is gone, as it is once that is so."""
        seq = read_cursor(cursor_path(self._outbox, writer_id, destination.name)).seq
        return min(seq, last_seq) if seq or self._has_journal(writer_id) else last_seq

    def _dead(self, writer_id: str, destinations: Iterable[str]) -> set[int]:
        return {record.seq for name in destinations for record in read_dead(dead_path(self._outbox, writer_id, name))}

    def _has_journal(self, writer_id: str) -> bool:
        try:
            return writer_id in list_segments(self._outbox) or any(self._outbox.glob(f"{writer_id}.*.damaged"))
        except OSError:
            return False

    def _has_sync(self) -> bool:
        with contextlib.suppress(OSError):
            return is_locked(lock_path(self._outbox), shared=False)
        return False

    def _each(self) -> Iterable[tuple[str, int]]:
        return self._writers.items()


@dataclass(frozen=True, slots=True)
class _Count:
    sent: int
    refused: int
    pending: int
    dropped: int
