"""``GET /api/v1/runs/{id}/metrics`` and beside it: names and curves of a run's series."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from flashtrial.server import series_views, views
from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.downsampling import MIN_POINTS
from flashtrial.server.records import MAX_INT64, SeriesKind
from flashtrial.server.routes import shapes
from flashtrial.server.series_views import SeriesQuery
from flashtrial.server.storage.reading import reading

MAX_SERIES = 100

Step = Annotated[int | None, Query(ge=-MAX_INT64, le=MAX_INT64)]
Names = Annotated[list[str], Query(max_length=MAX_SERIES)]
SomeNames = Annotated[list[str], Query(min_length=1, max_length=MAX_SERIES)]
Points = Annotated[int, Query(ge=MIN_POINTS, le=100_000)]
Attempts = Literal["newest", "all"]

_CURVES = shapes.SeriesShape | shapes.AttemptsShape | shapes.ManyShape


@dataclass(frozen=True, slots=True)
class _Window:
    """What of a run's series is asked for, as the question's parameters say it."""

    name: SomeNames
    start: Step = None
    end: Step = None
    points: Points = 1000
    attempts: Attempts = "newest"

    def queries(self, run_id: str, kind: SeriesKind | None = None) -> list[SeriesQuery]:
        """One for each name; without a `kind` a metric wins over a system figure of the same name."""
        return [SeriesQuery(run_id, one, self.start, self.end, self.points, kind) for one in self.name]


def add_series(routes: APIRouter, db_path: Path) -> None:
    """Put the routes in."""

    @routes.get(
        "/runs/{run_id:path}/metric-names", summary="The names of a run's series", response_model=shapes.NamesShape
    )
    def metric_names(run_id: str) -> Response:
        if not views.run_exists(db_path, run_id):
            return _no_such_run(run_id)
        names = series_views.metric_names(db_path, run_id)
        return json_answer({"names": names[SeriesKind.METRIC], "system": names[SeriesKind.SYSTEM]})

    @routes.get(
        "/runs/{run_id:path}/metrics",
        summary="The points of a series, thinned so that lows and highs stay",
        response_model=_CURVES,
    )
    def metrics(run_id: str, window: Annotated[_Window, Depends()]) -> Response:
        """Points are ``[step, time_ms, value]``. Several names give ``{"series": [{"name", "points"}, …]}``.

        Where steps went back, or the run was gone on with, later points take the place of earlier ones; with
        ``attempts=all`` each comes by itself, as ``{"name", "attempts": [{"attempt", "writer_id", "points"}]}``.
        ``unreadable`` is there where stored points were damaged, and says between which steps.
        """
        return _answer(db_path, window.queries(run_id), window.attempts)

    @routes.get(
        "/runs/{run_id:path}/system",
        summary="The same of the machine's figures",
        response_model=_CURVES,
    )
    def system(run_id: str, window: Annotated[_Window, Depends()]) -> Response:
        return _answer(db_path, window.queries(run_id, SeriesKind.SYSTEM), window.attempts)


def _answer(db_path: Path, queries: list[SeriesQuery], attempts: Attempts) -> Response:
    with reading(db_path) as connection:
        if not views.has_run(connection, queries[0].run_id):
            return _no_such_run(queries[0].run_id)
        found = series_views.curves(connection, queries, apart=attempts == "all")
    return json_answer(found[0] if len(found) == 1 else {"series": found})


def _no_such_run(run_id: str) -> Response:
    return error_answer(404, "no_such_run", f"there is no run {run_id!r:.200}")
