"""The journals of an outbox on their way to one destination: found, read from their cursors, removed when done.

Belongs to the sync process: it alone moves cursors, lists the dead, sets damaged journals aside and removes files.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from flashtrial.protocol.records import DamagedFrame
from flashtrial.tracking import progress
from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.journal_reader import JournalReader
from flashtrial.tracking.outbox import JOURNAL_SUFFIX, NEW_SUFFIX, cursor_path, dead_path, interest_path, is_locked
from flashtrial.tracking.settlement import NO_LIMIT, Parcel, Settlement, share_bytes

logger = logging.getLogger(__name__)

T = TypeVar("T")

DAMAGED_SUFFIX = ".damaged"
_ABANDONED_AFTER_S = 60.0


class Feed:
    """One journal and how far it has come: a copy in memory of what its cursor file says."""

    def __init__(self, outbox: Path, reader: JournalReader, destination: str) -> None:
        self.reader = reader
        self._writer_id = reader.header.writer_id
        self._cursor_path = cursor_path(outbox, self._writer_id, destination)
        self._dead_path = dead_path(outbox, self._writer_id, destination)
        self._cursor = progress.read_cursor(self._cursor_path)
        self._frame_limit = NO_LIMIT

    def has_more(self) -> bool:
        """Whether there are bytes after the cursor; they may be a torn record, which is nothing to send."""
        try:
            return self._cursor.offset < self.reader.size_bytes()
        except FileNotFoundError:
            return False

    def next_parcel(self, max_bytes: int) -> Parcel | None:
        """What is to be sent next; None when all is sent. Raises `DamagedFrame` and OSError."""
        stretch = self.reader.read(self._cursor.offset, max_bytes) if self.has_more() else None
        if stretch is None:
            return None
        return Parcel(self.reader.header.run_id, self._writer_id, self._cursor, stretch.first(self._frame_limit))

    def is_sent_to(self, destinations: Iterable[str]) -> bool:
        """Whether each of `destinations` has all of it, by their cursors on the disk. Raises as `next_parcel` does."""
        paths = (cursor_path(self.reader.path.parent, self._writer_id, each) for each in destinations)
        return all(self.reader.read(progress.read_cursor(path).offset, 1) is None for path in paths)

    def apply(self, settlement: Settlement) -> None:
        """Put on the disk what an answer means, the dead before the cursor that passes them.

        Raises `Outage` when the dead cannot be listed; then nothing of the answer is taken.
        """
        if settlement.dead:
            _list_dead(self._dead_path, settlement)
            _say_dead(settlement)
        if settlement.cursor != self._cursor:
            progress.write_cursor_if_possible(self._cursor_path, settlement.cursor)
        self._cursor = settlement.cursor
        self._frame_limit = settlement.frame_limit


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
    """All journals of `outbox`, as far as `destination` is concerned.

    A journal is removed when its writer is gone and each of `destinations` has all of it. One that cannot be read now
    is asked again each time and holds up no other.
    """

    def __init__(self, outbox: Path, destination: str, destinations: Sequence[str]) -> None:
        self._outbox = outbox
        self._destination = destination
        self._others = tuple(each for each in destinations if each != destination)
        self._feeds: dict[str, Feed] = {}
        self._complained_of: set[str] = set()

    def refresh(self) -> None:
        """Take in journals that have come, forget those that are gone."""
        with os.scandir(self._outbox) as entries:
            found = {entry.name for entry in entries if entry.name.endswith(JOURNAL_SUFFIX)}
        for name in self._feeds.keys() - found:
            del self._feeds[name]
        self._complained_of &= found
        for name in sorted(found - self._feeds.keys()):
            self._adopt(name)

    def next_parcels(self, request_bytes: int) -> list[tuple[Feed, Parcel]]:
        """What goes into the next request: something of each journal, in turn, until `request_bytes` are reached."""
        pending = [name for name in list(self._feeds) if self._ask(name, Feed.has_more, otherwise=False)]
        parcels: list[tuple[Feed, Parcel]] = []
        for name in pending:
            if request_bytes <= 0:
                break
            if (parcel := self._parcel(name, share_bytes(len(pending)))) is not None:
                self._feeds[name] = feed = self._feeds.pop(name)  # to the end: next time others come first
                parcels.append((feed, parcel))
                request_bytes -= len(parcel.stretch.data)
        return parcels

    def remove_done(self) -> None:
        """Remove the journals that nobody writes to and nobody waits for."""
        for name in list(self._feeds):
            if self._ask(name, self._is_done, otherwise=False):
                self._remove(name)

    def are_idle(self) -> bool:
        """Whether no writer lives, nothing can be sent, and nobody asked the sync process to stay."""
        if is_locked(interest_path(self._outbox), shared=True):
            return False
        return not any(self._is_busy(name) for name in list(self._feeds))

    def _is_busy(self, name: str) -> bool:
        """Whether its writer lives or something of it can be sent; not so when it cannot be read."""
        return self._ask(name, _writer_is_alive, otherwise=False) or self._parcel(name, 1) is not None

    def _is_done(self, feed: Feed) -> bool:
        # In this order: a writer that is gone adds nothing after we looked.
        return not feed.reader.writer_is_alive() and feed.next_parcel(1) is None and feed.is_sent_to(self._others)

    def _adopt(self, name: str) -> None:
        path = self._outbox / name
        try:
            self._feeds[name] = Feed(self._outbox, JournalReader.open(path), self._destination)
        except DamagedFrame as error:
            self._set_aside(path, error)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._complain(name, error)

    def _parcel(self, name: str, max_bytes: int) -> Parcel | None:
        return self._ask(name, lambda feed: feed.next_parcel(max_bytes), otherwise=None)

    def _ask(self, name: str, question: Callable[[Feed], T], *, otherwise: T) -> T:
        """What the feed answers; `otherwise` when it is gone, damaged, or cannot be read now."""
        feed = self._feeds.get(name)
        if feed is None:
            return otherwise
        try:
            answer = question(feed)
        except DamagedFrame as error:
            if not feed.reader.writer_is_alive():  # a living one may just be cutting off a torn record
                del self._feeds[name]
                self._set_aside(feed.reader.path, error)
        except FileNotFoundError:
            del self._feeds[name]
        except OSError as error:
            self._complain(name, error)
        else:
            return answer
        return otherwise

    def _complain(self, name: str, error: OSError) -> None:
        """Say it once for each journal."""
        if name not in self._complained_of:
            self._complained_of.add(name)
            logger.warning("%s cannot be read: %s", self._outbox / name, error, extra={"action": "journal_unreadable"})

    def _set_aside(self, path: Path, error: DamagedFrame) -> None:
        aside = path.with_name(path.name + DAMAGED_SUFFIX)
        path.replace(aside)
        logger.error("%s is damaged (%s); what follows is kept in %s", path, error, aside, extra={"action": "damaged"})

    def _remove(self, name: str) -> None:
        path = self._feeds.pop(name).reader.path
        path.unlink(missing_ok=True)  # before its cursors, without which it would be sent again
        for each in (self._destination, *self._others):
            cursor_path(self._outbox, path.name.removesuffix(JOURNAL_SUFFIX), each).unlink(missing_ok=True)


def _writer_is_alive(feed: Feed) -> bool:
    return feed.reader.writer_is_alive()


def sweep(outbox: Path) -> None:
    """Remove what deaths of earlier lives left beside the journals. Only while holding the outbox's lock."""
    writers = {path.name.removesuffix(JOURNAL_SUFFIX) for path in outbox.glob(f"*{JOURNAL_SUFFIX}")}
    for path in outbox.glob("*.cursor"):
        if path.name.split(".")[0] not in writers:
            path.unlink(missing_ok=True)
    for path in outbox.glob(".*.cursor.*"):
        path.unlink(missing_ok=True)
    for path in outbox.glob(f".*{JOURNAL_SUFFIX}{NEW_SUFFIX}"):
        if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S and not is_locked(path, shared=True):
            path.unlink(missing_ok=True)
