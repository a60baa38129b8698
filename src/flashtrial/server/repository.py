"""The one writer of the database: whole ingest requests, several to a transaction, and the chores between them.

The SQL lies in `flashtrial.server.storage`. Whoever has records to store (the native route, the neighbours' protocols)
makes `ParsedBatch`es of what `records.parse_record` gives and hands them to `Repository.ingest`.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flashtrial.core import files, sqlite
from flashtrial.core.clock import Clock
from flashtrial.server.commit_queue import CommitQueue
from flashtrial.server.ingest_body import ParsedBatch
from flashtrial.server.schema import MIGRATIONS
from flashtrial.server.storage.batches import BatchResult, store_batch

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)


class Repository:
    """The one writer of ``server.db``. `start` opens the file and its thread, `stop` commits what waits and ends both.

    `on_change` is called on the writer's thread, after the commit, with the ids of the runs that got something new.
    """

    def __init__(self, path: Path, clock: Clock, on_change: Callable[[frozenset[str]], None]) -> None:
        self._path = path
        self._clock = clock
        self._on_change = on_change
        self._connection: sqlite3.Connection | None = None
        self._queue: CommitQueue[Sequence[ParsedBatch], list[BatchResult]] = CommitQueue(
            self._commit, self._open, self._close
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

    def ingest(self, batches: Sequence[ParsedBatch]) -> "Future[list[BatchResult]]":
        """A result for each batch, in their order, once all of them are committed. From any thread, never blocks.

        Raises `QueueFull` or `NotRunning`; the future fails with `sqlite3.Error` when nothing could be stored.
        """
        return self._queue.submit(batches)

    def _open(self) -> None:
        files.ensure_private_dir(self._path.parent)
        self._connection = sqlite.connect(self._path)
        # Acknowledged means committed, and a client deletes what was acknowledged: so synced, too, not only written.
        self._connection.execute("PRAGMA synchronous = FULL")
        sqlite.migrate(self._connection, MIGRATIONS)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _commit(self, requests: Sequence[Sequence[ParsedBatch]]) -> Sequence[list[BatchResult] | Exception]:
        assert self._connection is not None
        changed: set[str] = set()
        with sqlite.transaction(self._connection) as connection:
            results = [self._store_alone(connection, request, changed) for request in requests]
        if changed:
            self._on_change(frozenset(changed))
        return results

    def _store_alone(
        self, connection: sqlite3.Connection, request: Sequence[ParsedBatch], changed: set[str]
    ) -> list[BatchResult] | Exception:
        """Store one request so that a fault in it takes nothing of its neighbours along."""
        connection.execute("SAVEPOINT request")
        try:
            results = [store_batch(connection, batch, self._clock.time_ms(), 0) for batch in request]
        except (sqlite3.DatabaseError, ValueError, OverflowError) as error:
            if not connection.in_transaction:  # a full disk has rolled back everything already
                raise
            connection.execute("ROLLBACK TO request")
            logger.exception("a request could not be stored", extra={"action": "ingest_failed"})
            return error
        finally:
            if connection.in_transaction:
                connection.execute("RELEASE request")
        changed.update(result.run_id for result in results if result.stored)
        return results
