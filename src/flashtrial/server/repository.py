"""The one writer of the database: whole ingest requests, several to a transaction, and the chores between them.

The SQL lies in `flashtrial.server.storage`. Whoever has records to store (the native route, the neighbours' protocols)
makes `ParsedBatch`es of what `records.parse_record` gives and hands them to `Repository.ingest`.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar, cast

from flashtrial.core import files, sqlite
from flashtrial.core.clock import Clock
from flashtrial.server.commit_queue import CommitQueue
from flashtrial.server.ingest_body import ParsedBatch
from flashtrial.server.liveness import Silence
from flashtrial.server.masking import masked_batch, masked_sight
from flashtrial.server.retention import RetentionRules, removable
from flashtrial.server.schema import MIGRATIONS
from flashtrial.server.storage.batches import Arrival, BatchResult, store_batch
from flashtrial.server.storage.chores import KEPT_PAGES, Sealing, empty_log, give_back_some
from flashtrial.server.storage.heartbeats import WriterSight, store_sights
from flashtrial.server.storage.removal import Removal, ended_runs, remove_runs, remove_some
from flashtrial.server.storage.reserve import Reserve, is_full, is_nearly_full
from flashtrial.server.storage.run_rows import settle_all

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Something to do in a transaction; it adds the ids of the runs that it changed to the set.
Work: TypeAlias = Callable[[sqlite3.Connection, set[str]], T]


@dataclass(frozen=True, slots=True)
class _Alone(Generic[T]):
    """Work that makes transactions of its own."""

    work: Work[T]


SILENT_AFTER_S = 180.0
_ROWS_AT_ONCE = 250  # of a run that is removed in pieces
# So many times longer may a client be silent that sends no heartbeats: by default an hour, as an epoch may take.
WITHOUT_HEARTBEATS = 20
CLOCK_SLACK_MS = 5_000
MAX_AHEAD_MS = 100 * 365 * 24 * 3600 * 1000  # a century: further than that is no clock


class Repository:
    """The one writer of ``server.db``. `start` opens the file and its thread, `stop` commits what waits and ends both.

    `reserve_bytes` of the disk are kept for removals on a full one.
    `on_change` is called on the writer's thread, after the commit, with the ids of the runs that got something new.
    Every method but those two may be called from any thread, never blocks, raises `QueueFull` or `NotRunning`, and
    gives a future that resolves after the commit, or fails with `sqlite3.Error` when nothing could be stored.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        on_change: Callable[[frozenset[str]], None],
        silent_after_s: float = SILENT_AFTER_S,
        *,
        mask_secrets: bool = True,
        reserve_bytes: int = 0,
    ) -> None:
        self.path = path
        self._mask_secrets = mask_secrets
        self._clock = clock
        self._on_change = on_change
        self._silent_after_s = silent_after_s
        self._started_s = clock.monotonic()
        self._connection: sqlite3.Connection | None = None
        self._sealing = Sealing()
        self._was_refused = False  # for want of room, as by a quota, which the disk itself does not tell of
        self._reserve = Reserve(path.with_name(f"{path.name}.reserve"), reserve_bytes)
        self._queue: CommitQueue[Work[object] | _Alone[object], object] = CommitQueue(
            self._commit, self._open, self._close, self._chore
        )

    def start(self) -> None:
        """Create or migrate the database and start the thread. Raises `DatabaseFromTheFuture`, `sqlite3.Error`."""
        self._queue.start()

    def stop(self) -> None:
        """Commit what was submitted and close the database. May be called twice."""
        self._queue.stop()

    @property
    def is_ready(self) -> bool:
        """Whether records submitted now will be stored."""
        return self._queue.is_running

    @property
    def waiting(self) -> int:
        """About how many requests wait for their commit."""
        return self._queue.waiting

    def ingest(
        self, batches: Sequence[ParsedBatch], size_bytes: int = 0, sent_ms: int | None = None
    ) -> Future[list[BatchResult]]:
        """A result for each batch, in their order, once all of them are committed.

        `size_bytes`, of the request that they came in, bounds together with others what waits in memory. `sent_ms` is
        when it was sent by the sender's clock.
        """
        ahead_ms = 0 if sent_ms is None else _ahead_ms(sent_ms, self._clock.time_ms())
        if self._mask_secrets:
            batches = [masked_batch(batch) for batch in batches]

        def work(connection: sqlite3.Connection, changed: set[str]) -> list[BatchResult]:
            arrival = Arrival(self._clock.time_ms(), self._silence(), ahead_ms)
            results = [store_batch(connection, batch, arrival) for batch in batches]
            changed.update(result.run_id for result in results if result.stored)
            return results

        return self.submit(work, size_bytes)

    def hear(self, sights: Sequence[WriterSight]) -> Future[None]:
        """Take down what a heartbeat says of writers; those of unknown runs or writers are passed over."""
        if self._mask_secrets:
            sights = [masked_sight(sight) for sight in sights]

        def work(connection: sqlite3.Connection, changed: set[str]) -> None:
            changed.update(store_sights(connection, sights, self._clock.time_ms(), self._silence()))

        return self.submit(work)

    def reap(self) -> Future[list[str]]:
        """Mark the runs of which no owner lives any more as interrupted; the ids of those whose state changed."""

        def work(connection: sqlite3.Connection, changed: set[str]) -> list[str]:
            found = settle_all(connection, self._silence())
            changed.update(found)
            return found

        return self.submit(work)

    def remove(self, run_id: str) -> Future[Removal]:
        """Remove a run for good, if there is one. What still comes of it is refused. A full disk is no hindrance."""
        return self._remove(lambda _: [run_id])

    def retain(self, rules: RetentionRules) -> Future[Removal]:
        """Remove the runs that the rules no longer keep."""
        return self._remove(lambda connection: removable(rules, ended_runs(connection), self._clock.time_ms()))

    def _remove(self, find: Callable[[sqlite3.Connection], list[str]]) -> Future[Removal]:
        def work(connection: sqlite3.Connection, changed: set[str]) -> Removal:
            run_ids = find(connection)
            try:
                removal = self._remove_at_once(connection, run_ids)
            except sqlite3.Error as error:
                if not is_full(error):
                    raise
                removal = self._remove_in_pieces(connection, run_ids)
            changed.update(removal.run_ids)
            if self._is_short_of_room():
                self._reserve.release()  # until chores have given back the room of what was removed
            return removal

        return cast("Future[Removal]", self._queue.submit(_Alone(work)))

    def _remove_at_once(self, connection: sqlite3.Connection, run_ids: Sequence[str]) -> Removal:
        with sqlite.transaction(connection):
            return remove_runs(connection, run_ids, self._clock.time_ms())

    def _remove_in_pieces(self, connection: sqlite3.Connection, run_ids: Sequence[str]) -> Removal:
        """The same where the log of one large transaction has no room: what a death interrupts is removed in part."""
        self._reserve.release()
        empty_log(connection)
        for run_id in run_ids:
            is_more = True
            while is_more:
                with sqlite.transaction(connection):
                    is_more = remove_some(connection, run_id, _ROWS_AT_ONCE)
                empty_log(connection)
        removal = self._remove_at_once(connection, run_ids)
        empty_log(connection)
        return removal

    def submit(self, work: Work[T], size_bytes: int = 0) -> Future[T]:
        """What `work` returns, done in a transaction, alone or with others; if it raises, nothing of it is kept."""
        return cast("Future[T]", self._queue.submit(work, size_bytes))

    def _silence(self) -> Silence:
        others_s = self._silent_after_s * WITHOUT_HEARTBEATS
        return Silence(self._before_ms(self._silent_after_s), self._before_ms(others_s))

    def _before_ms(self, silent_after_s: float) -> int:
        """Who was not heard of since then is silent. While this server is young, nobody had the time to be heard."""
        if self._clock.monotonic() - self._started_s < silent_after_s:
            return 0
        return self._clock.time_ms() - round(1000 * silent_after_s)

    def _open(self) -> None:
        files.ensure_private_dir(self.path.parent)
        if self.path.exists() and is_nearly_full(self.path.parent):
            self._reserve.lend()  # SQLite cannot open a database without a little room beside it
        self._connection = sqlite.connect(self.path, shrinks=True)
        # Acknowledged means committed, and a client deletes what was acknowledged: so synced, too, not only written.
        self._connection.execute("PRAGMA synchronous = FULL")
        # What is removed is overwritten only where that costs no writing: else removing takes as much room as storing.
        self._connection.execute("PRAGMA secure_delete = FAST")
        sqlite.migrate(self._connection, MIGRATIONS)
        self._reserve.hold()
        self._sealing.look_for_old(self._connection)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _chore(self) -> bool:
        assert self._connection is not None
        kept_pages = 0 if self._is_short_of_room() else KEPT_PAGES
        if self._sealing.seal_some(self._connection) or give_back_some(self._connection, kept_pages):
            return True
        if not self._was_refused:
            self._reserve.hold()
        return False

    def _is_short_of_room(self) -> bool:
        return self._was_refused or is_nearly_full(self.path.parent)

    def _commit(self, group: Sequence[Work[object] | _Alone[object]]) -> Sequence[object]:
        """What each work returns, or its fault: those side by side in one transaction, who asks for it apart."""
        results: list[object] = []
        for works in _apart(group):
            changed: set[str] = set()
            try:
                results += self._do(works, changed)
            except (sqlite3.Error, ValueError, OverflowError) as error:  # the others in the group may do better
                count = 1 if isinstance(works, _Alone) else len(works)
                logger.warning("could not commit %d requests: %s", count, error, extra={"action": "commit_failed"})
                results += [error] * count
                changed.clear()
            if changed:
                self._sealing.changed(changed)
                self._on_change(frozenset(changed))
        return results

    def _do(self, works: Sequence[Work[object]] | _Alone[object], changed: set[str]) -> list[object]:
        assert self._connection is not None
        if isinstance(works, _Alone):
            return [works.work(self._connection, changed)]
        try:
            results = _do_together(self._connection, works, changed)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            self._was_refused = True
            changed.clear()
            empty_log(self._connection)  # so that the next log takes the room of this one
            results = _do_together(self._connection, works, changed)
        if changed:  # else there was nothing to store, as for most looks at who is silent
            self._was_refused = False
        return results


def _apart(group: Sequence[Work[object] | _Alone[object]]) -> Iterator[list[Work[object]] | _Alone[object]]:
    """What stands side by side together, and by itself what makes transactions of its own; in their order."""
    together: list[Work[object]] = []
    for work in group:
        if isinstance(work, _Alone):
            if together:
                yield together
            yield work
            together = []
        else:
            together.append(work)
    if together:
        yield together


def _ahead_ms(sent_ms: int, now_ms: int) -> int:
    """How far a sender's clock is ahead of ours, where that is more than a request may take to get here."""
    ahead_ms = max(-MAX_AHEAD_MS, min(sent_ms - now_ms, MAX_AHEAD_MS))
    return ahead_ms if abs(ahead_ms) > CLOCK_SLACK_MS else 0


def _do_together(connection: sqlite3.Connection, works: Sequence[Work[object]], changed: set[str]) -> list[object]:
    with sqlite.transaction(connection):
        return [_do_alone(connection, work, changed) for work in works]


def _do_alone(connection: sqlite3.Connection, work: Work[object], changed: set[str]) -> object:
    """Do one work so that a fault in it takes nothing of its neighbours along; what it returns, or its fault."""
    connection.execute("SAVEPOINT request")
    own: set[str] = set()
    try:
        result = work(connection, own)
    except (sqlite3.DatabaseError, ValueError, OverflowError) as error:
        if not connection.in_transaction:  # a full disk has rolled back everything already
            raise
        connection.execute("ROLLBACK TO request")
        logger.exception("a request could not be stored", extra={"action": "ingest_failed"})
        return error
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE request")
    changed |= own
    return result
