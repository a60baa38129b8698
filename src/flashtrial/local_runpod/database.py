"""The one thread that touches ``local_runpod.db``; everybody else hands it work and awaits the outcome."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from flashtrial.core import sqlite
from flashtrial.local_runpod.errors import StorageFailed
from flashtrial.local_runpod.job_store import Change, JobStore
from flashtrial.local_runpod.schema import MIGRATIONS

T = TypeVar("T")


class Database:
    """SQLite behind a thread. Work is done in the order in which it was handed in, each piece in a transaction.

    What was given to `on_changes` is called in the event loop with what a piece of work changed, after its commit and
    even when whoever awaited the work is gone, so that a waiter is woken in any case.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tell: Callable[[list[Change]], None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._jobs: JobStore | None = None

    def on_changes(self, tell: Callable[[list[Change]], None]) -> None:
        """Have `tell` called with all changes from now on."""
        self._tell = tell

    async def start(self) -> None:
        """Open the file, made or migrated where needed. Raises `core.sqlite.DatabaseFromTheFuture`."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-runpod-database")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def stop(self) -> None:
        """Finish what was handed in and close the file. Twice is once."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        await asyncio.get_running_loop().run_in_executor(thread, self._close)
        thread.shutdown()

    async def jobs(self, work: Callable[[JobStore], T]) -> T:
        """What `work` returns, done in the thread. Raises `StorageFailed`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._running(), lambda: self._work_on_jobs(work, loop))

    async def rows(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, done in the thread; for tables other than the jobs'. Raises `StorageFailed`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._running(), lambda: self._work_on_rows(work))

    def _running(self) -> ThreadPoolExecutor:
        if self._thread is None:
            raise StorageFailed("flashtrial is stopping: ask again when it is back")
        return self._thread

    def _open(self) -> None:
        self._connection = sqlite.connect(self._path)
        sqlite.migrate(self._connection, MIGRATIONS)
        self._jobs = JobStore(self._connection)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _work_on_jobs(self, work: Callable[[JobStore], T], loop: asyncio.AbstractEventLoop) -> T:
        assert self._connection is not None
        assert self._jobs is not None
        try:
            with self._transaction(self._connection):
                outcome = work(self._jobs)
        except BaseException:
            self._jobs.take_changes()  # rolled back: they did not happen
            raise
        changes = self._jobs.take_changes()
        if changes and self._tell is not None:
            loop.call_soon_threadsafe(self._tell, changes)
        return outcome

    def _work_on_rows(self, work: Callable[[sqlite3.Connection], T]) -> T:
        assert self._connection is not None
        with self._transaction(self._connection):
            return work(self._connection)

    @contextlib.contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        try:
            with sqlite.transaction(connection):
                yield
        except sqlite3.OperationalError as error:
            raise StorageFailed(f"{self._path} cannot be written: {error}; is the disk full?") from error
