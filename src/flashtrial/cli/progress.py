"""The runs that appear while a script runs, watched through the server's API and drawn below the script's output."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flashtrial.cli import outbox, probe, runs
from flashtrial.cli.runs import RunRow

if TYPE_CHECKING:
    from rich.console import Console, Group

PERIOD_S = 0.5
SETTLE_S = 3.0
_SETTLE_POLL_S = 0.05
_ROWS_SHOWN = 12


class RunWatcher:
    """Asks the server for its runs, twice a second from a thread of its own, and remembers those that are new.

    Leaving it waits up to 3 s until `outbox` is sent, so that the last look sees how the runs ended.

    `rows` may be read from any thread. A server that does not answer leaves the last rows as they are.
    """

    def __init__(self, url: str, key: str, outbox: Path) -> None:
        self._outbox = outbox
        self._url = url
        self._key = key
        self._before: frozenset[str] = frozenset()
        self._rows: tuple[RunRow, ...] = ()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="flashtrial-run-watcher", daemon=True)

    def __enter__(self) -> "RunWatcher":
        self._before = frozenset(row.id for row in self._ask())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._settle()

    @property
    def rows(self) -> tuple[RunRow, ...]:
        """The runs that appeared since the start, oldest first."""
        return self._rows

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            self._look()

    def _settle(self) -> None:
        """Look once more, after a moment for what was logged last to be sent."""
        deadline = time.monotonic() + SETTLE_S
        while not outbox.is_sent(self._outbox) and time.monotonic() < deadline:
            time.sleep(_SETTLE_POLL_S)
        self._look()

    def _look(self) -> None:
        fresh = [row for row in self._ask() if row.id not in self._before]
        if fresh:
            self._rows = tuple(sorted(fresh, key=lambda row: row.id))  # ids begin with the time of their making

    def _ask(self) -> list[RunRow]:
        answer = probe.get(f"{self._url}/api/v1/runs", key=self._key).json()
        listed = answer.get("runs", []) if isinstance(answer, dict) else []
        return [RunRow.from_json(fields) for fields in listed]


class LiveRuns:
    """What rich draws again and again while the script runs; shows nothing before the first run appears."""

    def __init__(self, watcher: RunWatcher) -> None:
        self._watcher = watcher

    def __rich__(self) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        rows = self._watcher.rows
        if not rows:
            return Group()
        ended = sum(not row.is_live for row in rows)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=len(rows), completed=ended, width=30), Text(f"{ended} of {len(rows)} runs ended"))
        return Group(runs.table(list(rows[-_ROWS_SHOWN:])), bar)


def console() -> "Console":
    """The terminal we draw on."""
    from rich.console import Console

    return Console()
