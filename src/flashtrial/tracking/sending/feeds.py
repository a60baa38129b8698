"""The journals of an outbox on their way to one destination: found, read from their cursors, removed when done.

Belongs to the sync process: it alone moves cursors, lists the dead, sets damaged segments aside and removes files. Each
destination has a thread and `Feeds` of its own; what they share is the `OutboxState`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from flashtrial.protocol.records import DamagedFrame, JournalHeader
from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.journal import progress
from flashtrial.tracking.journal.outbox import NEW_SUFFIX, dead_path, interest_path, is_locked
from flashtrial.tracking.journal.progress import Cursor
from flashtrial.tracking.journal.reader import JournalReader, Stretch
from flashtrial.tracking.journal.routes import NATIVE, Route
from flashtrial.tracking.journal.segments import JOURNAL_SUFFIX, list_segments, segment_path
from flashtrial.tracking.media.uploads import release_files
from flashtrial.tracking.sending.outbox_state import OutboxState
from flashtrial.tracking.sending.settlement import NO_LIMIT, Parcel, Settlement, share_bytes

logger = logging.getLogger(__name__)

T = TypeVar("T")

DAMAGED_SUFFIX = ".damaged"
_ABANDONED_AFTER_S = 60.0


class Feed:
    """One journal on its way to one destination. `segments` are the numbers of those that were there at the last look.

    A segment before the last one is closed: so when it was read to its end after the next one was seen, it is done.
    """

    def __init__(self, header: JournalHeader, segments: list[int], destination: str, state: OutboxState) -> None:
        self.header = header
        self.segments = segments
        self._destination = destination
        self._state = state
        self._frame_limit = NO_LIMIT

    @property
    def cursor(self) -> Cursor:
        """Where the next record is to be read: a segment that is gone was done."""
        cursor = self._state.cursor(self.header.writer_id, self._destination)
        if cursor.segment in self.segments:
            return cursor
        later = (number for number in self.segments if number > cursor.segment)
        return Cursor(0, cursor.seq, next(later, cursor.segment))

    def has_more(self) -> bool:
        """Whether there are bytes after the cursor; they may be a torn record, which is nothing to send."""
        cursor = self.cursor
        if cursor.segment < self.segments[-1]:
            return True
        try:
            return cursor.offset < self._path(cursor.segment).stat().st_size
        except FileNotFoundError:
            return False

    def next_parcel(self, max_bytes: int) -> Parcel | None:
        """What is to be sent next; None when all is sent. Raises `DamagedFrame` and OSError."""
        while self.has_more():
            cursor = self.cursor
            stretch = self._reader(cursor.segment).read(cursor.offset, max_bytes)
            if stretch is not None:
                return Parcel(self.header.run_id, self.header.writer_id, cursor, stretch.first(self._frame_limit))
            if not self._go_on(cursor):
                return None
        return None

    def is_done_at(self, destination: str) -> bool:
        """Whether another destination has all of it. Raises as `next_parcel` does."""
        return Feed(self.header, self.segments, destination, self._state).next_parcel(1) is None

    def closed_for(self, destinations: frozenset[str]) -> Iterator[Path]:
        """The segments that all of `destinations` have passed."""
        passed = min(
            (Feed(self.header, self.segments, each, self._state).cursor.segment for each in destinations), default=0
        )
        return (self._path(number) for number in self.segments if number < passed)

    def paths(self) -> list[Path]:
        return [self._path(number) for number in self.segments]

    def segment_of_cursor(self) -> Path:
        return self._path(self.cursor.segment)

    def writer_is_alive(self) -> bool:
        """Whether a process still holds the journal. False also when its files are gone."""
        return any(is_locked(path, shared=True) for path in reversed(self.paths()))

    def apply(self, settlement: Settlement) -> None:
        """Put on the disk what an answer means, the dead before the cursor that passes them.

        Raises `Outage` when the dead cannot be listed; then nothing of the answer is taken.
        """
        writer_id = self.header.writer_id
        if settlement.dead:
            _list_dead(dead_path(self._state.outbox, writer_id, self._destination), settlement)
            _say_dead(settlement)
        self._state.move(writer_id, self._destination, settlement.cursor)
        self._frame_limit = settlement.frame_limit

    def read_segment(self, number: int) -> Iterator[Stretch]:
        """All whole records of a segment. Raises `DamagedFrame` and OSError."""
        reader = self._reader(number)
        offset = 0
        while (stretch := reader.read(offset, 1 << 20)) is not None:
            yield stretch
            offset = stretch.marks[-1].end

    def _go_on(self, cursor: Cursor) -> bool:
        """To the next segment, if there is one."""
        if cursor.segment >= self.segments[-1]:
            return False
        following = next(number for number in self.segments if number > cursor.segment)
        self._state.move(self.header.writer_id, self._destination, Cursor(0, cursor.seq, following))
        return True

    def _reader(self, number: int) -> JournalReader:
        return JournalReader.open(self._path(number))

    def _path(self, number: int) -> Path:
        return segment_path(self._state.outbox, self.header.writer_id, number)


def _list_dead(path: Path, settlement: Settlement) -> None:
    try:
        progress.append_dead(path, settlement.dead)
    except OSError as error:
        raise Outage(f"refused records cannot be set aside in {path}: {error.strerror}") from error


def _say_dead(settlement: Settlement) -> None:
    for record in settlement.dead:
        logger.error(
            "record %d of run %s was refused and set aside: %s",
            record.seq,
            record.run_id,
            record.reason,
            extra={"action": "record_dead", "run_id": record.run_id, "writer_id": record.writer_id},
        )


class Feeds:
    """All journals of an outbox that `route` has to bring to its destination.

    A journal is removed when its writer is gone and each of its destinations has all of it and knows that, as far as it
    listens; a closed segment as soon as each has it. One that cannot be read now is asked again each time and
    holds up no other. `may_remove` says of some segments whether they may go at all.
    """

    def __init__(
        self, state: OutboxState, route: Route, may_remove: Callable[[list[Path]], bool] = lambda _paths: True
    ) -> None:
        self._may_remove = may_remove
        self._outbox = state.outbox
        self._state = state
        self._route = route
        self._feeds: dict[str, Feed] = {}  # by writer
        self._not_ours: set[str] = set()
        self._complained_of: set[str] = set()

    def refresh(self) -> None:
        """Take in journals that have come, forget those that are gone."""
        found = list_segments(self._outbox)
        for writer_id in self._feeds.keys() - found.keys():
            self._drop(writer_id)
        self._complained_of &= found.keys()
        self._not_ours &= found.keys()
        for writer_id, numbers in sorted(found.items()):
            if writer_id in self._feeds:
                self._feeds[writer_id].segments = numbers
            elif writer_id not in self._not_ours:
                self._adopt(writer_id, numbers)

    def next_loads(self, request_bytes: int, most: int = 1) -> list[list[tuple[Feed, Parcel]]]:
        """What goes into the next requests, at most so many: something of each journal, in turn.

        A request has `request_bytes` at most, or one record; the next one is begun when no more fits into it.
        """
        pending = [writer_id for writer_id in list(self._feeds) if self._ask(writer_id, Feed.has_more, otherwise=False)]
        share = share_bytes(len(pending), request_bytes, most)
        loads: list[list[tuple[Feed, Parcel]]] = []
        room = 0
        for writer_id in pending:
            if (parcel := self._parcel(writer_id, share)) is None:
                continue
            size_bytes = len(parcel.stretch.data)
            if not loads or size_bytes > room:
                if len(loads) == most:
                    break
                loads.append([])
                room = request_bytes
            self._feeds[writer_id] = feed = self._feeds.pop(writer_id)  # to the end: next time others come first
            loads[-1].append((feed, parcel))
            room -= size_bytes
        return loads

    def remove_done(self) -> None:
        """Remove what nobody writes to and nobody waits for."""
        for writer_id in list(self._feeds):
            if self._ask(writer_id, self._is_done, otherwise=False):
                self._remove(writer_id)
            else:
                self._ask(writer_id, self._remove_closed, otherwise=None)

    def are_idle(self) -> bool:
        """Whether no writer lives, nothing can be sent, and nobody asked the sync process to stay."""
        if is_locked(interest_path(self._outbox), shared=True):
            return False
        return not any(self._is_busy(writer_id) for writer_id in list(self._feeds))

    def living(self) -> list[Feed]:
        """The journals whose writers live."""
        return [
            feed for writer_id, feed in list(self._feeds.items()) if self._ask(writer_id, _is_alive, otherwise=False)
        ]

    def departed(self) -> list[Feed]:
        """The journals whose writers are gone, of which all was sent and the server does not know it yet."""
        return [
            feed
            for writer_id, feed in list(self._feeds.items())
            if self._awaits_farewell(writer_id) and self._ask(writer_id, self._is_sent, otherwise=False)
        ]

    def _is_busy(self, writer_id: str) -> bool:
        """Whether its writer lives or something of it can be sent; not so when it cannot be read."""
        if self._ask(writer_id, _is_alive, otherwise=False) or self._parcel(writer_id, 1) is not None:
            return True
        return writer_id in self._feeds and writer_id not in self._complained_of and self._awaits_farewell(writer_id)

    def _awaits_farewell(self, writer_id: str) -> bool:
        return self._state.awaits_farewell(writer_id, str(self._route.destination))

    def _is_known_everywhere(self, header: JournalHeader) -> bool:
        """Whether all destinations that want to be told know that the writer is gone."""
        destinations = self._route.find(header, False) | {self._route.destination}
        return not any(self._state.awaits_farewell(header.writer_id, str(each)) for each in destinations)

    def _is_sent(self, feed: Feed) -> bool:
        # In this order: a writer that is gone adds nothing after we looked.
        if feed.writer_is_alive():
            return False
        feed.segments = list_segments(self._outbox).get(feed.header.writer_id, feed.segments)
        return feed.next_parcel(1) is None

    def _is_done(self, feed: Feed) -> bool:
        return (
            self._route.leads(feed.header, is_alive=False)
            and self._may_remove(feed.paths())
            and self._is_known_everywhere(feed.header)
            and self._is_sent(feed)
            and all(feed.is_done_at(each) for each in self._route.others(feed.header, is_alive=False))
        )

    def _remove_closed(self, feed: Feed) -> None:
        if len(feed.segments) == 1:
            return
        is_alive = feed.writer_is_alive()
        if not self._route.leads(feed.header, is_alive=is_alive):
            return
        others = self._route.others(feed.header, is_alive=is_alive)
        for path in feed.closed_for(others | {self._route.name}):
            if self._may_remove([path]):
                self._unlink(path, others)

    def _adopt(self, writer_id: str, numbers: list[int]) -> None:
        path = segment_path(self._outbox, writer_id, numbers[0])
        try:
            header = JournalReader.open(path).header
        except DamagedFrame as error:
            self._set_aside(path, error)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._complain(writer_id, path, error)
        else:
            self._take(Feed(header, numbers, self._route.name, self._state))

    def _take(self, feed: Feed) -> None:
        if self._route.takes(feed.header, is_alive=feed.writer_is_alive()):
            self._feeds[feed.header.writer_id] = feed
        else:
            self._not_ours.add(feed.header.writer_id)

    def _parcel(self, writer_id: str, max_bytes: int) -> Parcel | None:
        return self._ask(writer_id, lambda feed: feed.next_parcel(max_bytes), otherwise=None)

    def _ask(self, writer_id: str, question: Callable[[Feed], T], *, otherwise: T) -> T:
        """What the feed answers; `otherwise` when it is gone, damaged, or cannot be read now."""
        feed = self._feeds.get(writer_id)
        if feed is None:
            return otherwise
        try:
            answer = question(feed)
        except DamagedFrame as error:
            if not feed.writer_is_alive():  # a living one may just be cutting off a torn record
                self._drop(writer_id)
                self._set_aside(feed.segment_of_cursor(), error)
        except FileNotFoundError:
            self._drop(writer_id)
        except OSError as error:
            self._complain(writer_id, feed.segment_of_cursor(), error)
        else:
            return answer
        return otherwise

    def _drop(self, writer_id: str) -> None:
        self._feeds.pop(writer_id, None)

    def _complain(self, writer_id: str, path: Path, error: OSError) -> None:
        """Say it once for each journal."""
        if writer_id not in self._complained_of:
            self._complained_of.add(writer_id)
            logger.warning("%s cannot be read: %s", path, error, extra={"action": "journal_unreadable"})

    def _set_aside(self, path: Path, error: DamagedFrame) -> None:
        aside = path.with_name(path.name + DAMAGED_SUFFIX)
        try:
            path.replace(aside)
        except FileNotFoundError:  # another destination's thread was first
            return
        logger.error("%s is damaged (%s); what follows is kept in %s", path, error, aside, extra={"action": "damaged"})

    def _remove(self, writer_id: str) -> None:
        feed = self._feeds.pop(writer_id)
        for path in feed.paths():  # before its cursors, without which it would be sent again
            self._unlink(path, self._route.others(feed.header, is_alive=False))
        self._state.forget(writer_id)

    def _unlink(self, path: Path, others: frozenset[str]) -> None:
        if NATIVE not in others | {self._route.name}:  # else who brings files there lets go of them
            release_files(path)
        path.unlink(missing_ok=True)


def _is_alive(feed: Feed) -> bool:
    return feed.writer_is_alive()


def sweep(outbox: Path) -> None:
    """Remove what deaths of earlier lives left beside the journals. Only while holding the outbox's lock."""
    writers = list_segments(outbox)
    for path in outbox.glob("*.cursor"):
        if path.name.split(".")[0] not in writers:
            path.unlink(missing_ok=True)
    for path in outbox.glob(".*.cursor.*"):
        path.unlink(missing_ok=True)
    for path in outbox.glob(f".*{JOURNAL_SUFFIX}{NEW_SUFFIX}"):
        if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S and not is_locked(path, shared=True):
            path.unlink(missing_ok=True)
