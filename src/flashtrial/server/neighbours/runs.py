"""Runs as the neighbours ask for them: by number, by project, whole lists. Of ``server.db`` it only reads."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import orjson

from flashtrial.server import views
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.series_views import SeriesQuery, seen
from flashtrial.server.storage.columns import EMPTY, Columns, Float64
from flashtrial.server.storage.logged import Mark, logged_page
from flashtrial.server.storage.reading import reading
from flashtrial.server.storage.removal import was_removed
from flashtrial.server.views import RunDetail, RunQuery, RunView

ALL_POINTS = 1_000_000_000

Point: TypeAlias = "tuple[int, int, float]"
LastPoint: TypeAlias = "tuple[int, int, float]"  # step, time in ms, value


@dataclass(frozen=True, slots=True)
class NumberedRun:
    """A run with the whole number that Pluto knows it by."""

    number: int
    view: RunView


class Runs:
    """What is stored in the database at `path`; `ledger` numbers the runs. From any thread."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self._path = path
        self._ledger = ledger

    def by_id(self, run_id: str) -> RunDetail | None:
        return views.read_run(self._path, run_id)

    def was_removed(self, run_id: str) -> bool:
        """Whether there was a run with this id that somebody removed."""
        with reading(self._path) as connection:
            return was_removed(connection, run_id)

    def number_of(self, run_id: str) -> int | None:
        """The number of a run that there is."""
        return self._ledger.numbers_of([run_id])[run_id] if views.run_exists(self._path, run_id) else None

    def by_number(self, number: int) -> NumberedRun | None:
        run_id = self._ledger.run_of(number)
        view = None if run_id is None else self.by_id(run_id)
        return None if view is None else NumberedRun(number, view)

    def of_project(self, project: str | None) -> list[NumberedRun]:
        """The runs of a project, or all, newest first."""
        found: list[RunView] = []
        cursor: str | None = None
        while True:
            page = views.page_of_runs(self._path, RunQuery(views.MAX_PAGE, cursor, project))
            found += page["runs"]
            cursor = page["next"]
            if cursor is None:
                break
        numbers = self._ledger.numbers_of([view["id"] for view in found])
        return [NumberedRun(numbers[view["id"]], view) for view in found]

    def projects(self) -> list[tuple[str, int, int, int]]:
        """(project, number of runs, first time, last time) of each project that has runs; times in milliseconds."""
        with reading(self._path) as connection:
            return connection.execute(
                "SELECT project, count(*), min(created_ms), max(updated_ms) FROM runs GROUP BY project ORDER BY project"
            ).fetchall()

    def points(
        self, run_id: str, name: str, *, start: int | None = None, end: int | None = None, limit: int = ALL_POINTS
    ) -> list[Point]:
        """(step, time_ms, value) by ascending step; NaN and infinities as floats."""
        found = views.metric_points(self._path, run_id, name, start=start, end=end, limit=max(limit, 4))
        return [(step, time_ms, float(value)) for step, time_ms, value in found]

    def values(self, run_id: str, name: str) -> Float64:
        """The values of a series by ascending step, as its curve shows them."""
        with reading(self._path) as connection:
            return seen(connection, SeriesQuery(run_id, name, limit=None)).values

    def logged(self, run_id: str, name: str, mark: Mark, limit: int | None) -> tuple[Columns, Mark | None]:
        """Points as they were logged, several at one step too, by time; and where the next page begins."""
        with reading(self._path) as connection:
            row = connection.execute(
                "SELECT series.number FROM series JOIN runs ON runs.number = run WHERE runs.id = ? AND series.name = ? "
                "ORDER BY kind LIMIT 1",  # a metric wins over a system figure of the same name
                (run_id, name),
            ).fetchone()
            if row is None:
                return EMPTY, None
            page, more = logged_page(connection, row[0], mark, ALL_POINTS if limit is None else limit)
        return page[np.lexsort((page.values, page.steps, page.times_ms))], more

    def last_points(self, run_ids: Iterable[str]) -> dict[str, dict[str, LastPoint]]:
        """The last point of each series of each run, system figures too."""
        found: dict[str, dict[str, LastPoint]] = {}
        with reading(self._path) as connection:
            rows = connection.execute(
                "SELECT runs.id, series.name, last_step, last_time_ms, last_value FROM series "
                "JOIN runs ON runs.number = series.run WHERE runs.id IN (SELECT value FROM json_each(?))",
                (orjson.dumps(list(run_ids)).decode(),),
            )
            for run_id, name, step, time_ms, value in rows:
                found.setdefault(run_id, {})[name] = (step, time_ms, float("nan") if value is None else value)
        return found

    def names(self, run_id: str) -> list[str]:
        """The names of all series of the run, sorted; system figures too."""
        kinds = views.metric_names(self._path, run_id)
        return sorted({name for names in kinds.values() for name in names})

    def console(self, run_id: str) -> list[views.ConsoleLine]:
        """All lines of the run."""
        lines: list[views.ConsoleLine] = []
        while page := views.console_lines(self._path, run_id, after=lines[-1]["id"] if lines else 0):
            lines += page
        return lines


def id_from(prefix: str, *parts: str) -> str:
    """A run id that is the same whenever the same parts are given."""
    return f"{prefix}_{hashlib.blake2b(chr(0).join(parts).encode(), digest_size=12).hexdigest()}"
