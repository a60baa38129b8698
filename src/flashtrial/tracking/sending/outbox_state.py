"""What the threads of one sync process know together about its outbox: cursors, farewells, outages.

Each destination has a thread. A cursor is moved by its destination's thread alone; `lock` guards the rest.
"""

import os
import threading
from pathlib import Path

from flashtrial.core.clock import Clock
from flashtrial.tracking.journal import progress
from flashtrial.tracking.journal.outbox import cursor_path
from flashtrial.tracking.journal.progress import Cursor, SyncStatus


class OutboxState:
    """Shared by the destinations of one outbox, in the process that holds its lock."""

    def __init__(self, outbox: Path, clock: Clock) -> None:
        self.outbox = outbox
        self._clock = clock
        self._lock = threading.Lock()
        self._cursors: dict[tuple[str, str], Cursor] = {}
        self._listeners: set[str] = set()
        self._farewells: set[tuple[str, str]] = set()
        self._outages: dict[str, str] = {}

    def cursor(self, writer_id: str, destination: str) -> Cursor:
        """How far a destination has come; in memory further than on the disk where that takes no cursor any more."""
        key = writer_id, destination
        if key not in self._cursors:
            self._cursors[key] = progress.read_cursor(cursor_path(self.outbox, writer_id, destination))
        return self._cursors[key]

    def move(self, writer_id: str, destination: str, cursor: Cursor) -> None:
        """Remember how far a destination has come, on the disk where possible."""
        if cursor != self.cursor(writer_id, destination):
            progress.write_cursor_if_possible(cursor_path(self.outbox, writer_id, destination), cursor)
            self._cursors[writer_id, destination] = cursor

    def all_cursors(self, writer_id: str) -> list[Cursor]:
        """Where anybody is, or would go on after a death: those in memory, and those on the disk, whosever they are."""
        in_memory = [cursor for (writer, _), cursor in list(self._cursors.items()) if writer == writer_id]
        return in_memory + [progress.read_cursor(path) for path in self.outbox.glob(f"{writer_id}.*.cursor")]

    def forget(self, writer_id: str) -> None:
        """The journal is gone: so are its cursors, those of destinations that are no more included."""
        for key in [key for key in list(self._cursors) if key[0] == writer_id]:
            self._cursors.pop(key, None)
        for path in self.outbox.glob(f"{writer_id}.*.cursor"):
            path.unlink(missing_ok=True)
        with self._lock:
            self._farewells = {each for each in self._farewells if each[0] != writer_id}

    def listens(self, destination: str, *, wants: bool) -> None:
        """Whether a destination is to be told that a writer is gone before its journal may go."""
        with self._lock:
            (self._listeners.add if wants else self._listeners.discard)(destination)

    def say_farewell(self, writer_id: str, destination: str) -> None:
        """The destination knows that the writer is gone."""
        with self._lock:
            self._farewells.add((writer_id, destination))

    def awaits_farewell(self, writer_id: str, destination: str) -> bool:
        """Whether the destination still has to be told that the writer is gone."""
        return destination in self._listeners and (writer_id, destination) not in self._farewells

    def note(self, destination: str, outage: str | None) -> None:
        """Say why nothing goes through to `destination`, or that it does again."""
        with self._lock:
            if outage is None:
                self._outages.pop(destination, None)
            else:
                self._outages[destination] = outage
            self._write_status()

    def say_status(self) -> None:
        """Leave word of this process and of the destinations' state for whoever waits or asks."""
        with self._lock:
            self._write_status()

    def _write_status(self) -> None:
        # The server's own state is what `finish` asks for; any other outage is none of its business.
        ours = [reason for name, reason in sorted(self._outages.items()) if name.split(" ")[0] == "native"]
        status = SyncStatus(os.getpid(), ours[0] if ours else None, self._clock.time_ms(), dict(self._outages))
        progress.write_status_if_possible(self.outbox, status)
