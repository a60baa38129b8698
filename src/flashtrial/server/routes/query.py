"""``GET /api/v1/…``: runs, their series and output, and the stream that says what changed."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from flashtrial.protocol.trials import RunStatus
from flashtrial.server import views
from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.downsampling import MIN_POINTS
from flashtrial.server.events import EventHub
from flashtrial.server.records import MAX_INT64, SeriesKind
from flashtrial.server.views import MAX_PAGE, BadCursor, RunQuery

MAX_SERIES = 100

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Step = Annotated[int | None, Query(ge=-MAX_INT64, le=MAX_INT64)]


def router(db_path: Path, events: EventHub) -> APIRouter:
    """The routes, reading from the database at `db_path`."""
    routes = APIRouter(prefix="/api/v1", tags=["query"])
    # Ids may have slashes in them, so the routes with something behind the id come first.
    _add_series(routes, db_path)
    _add_runs(routes, db_path)

    @routes.get("/events", summary="Server-sent events: which runs changed")
    async def changes() -> StreamingResponse:
        return StreamingResponse(events.stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return routes


def _add_runs(routes: APIRouter, db_path: Path) -> None:
    @routes.get("/runs", summary="Runs, newest first")
    def runs(
        limit: Limit = 100, cursor: str | None = None, project: str | None = None, status: RunStatus | None = None
    ) -> Response:
        try:
            return json_answer(views.page_of_runs(db_path, RunQuery(limit, cursor, project, status)))
        except BadCursor as error:
            return error_answer(400, "bad_cursor", str(error))

    @routes.get("/runs/{run_id:path}/console", summary="What the run printed, in the order of arrival")
    def console(run_id: str, after: Annotated[int, Query(ge=0, le=MAX_INT64)] = 0, limit: Limit = MAX_PAGE) -> Response:
        lines = views.console_lines(db_path, run_id, after=after, limit=limit)
        if not lines and not views.run_exists(db_path, run_id):
            return _no_such_run(run_id)
        return json_answer({"lines": lines, "next": lines[-1]["id"] if lines else after})

    @routes.get("/runs/{run_id:path}", summary="One run")
    def run(run_id: str) -> Response:
        found = views.read_run(db_path, run_id)
        return _no_such_run(run_id) if found is None else json_answer(found)


def _add_series(routes: APIRouter, db_path: Path) -> None:
    @routes.get("/runs/{run_id:path}/metric-names", summary="The names of a run's series")
    def metric_names(run_id: str) -> Response:
        if not views.run_exists(db_path, run_id):
            return _no_such_run(run_id)
        names = views.metric_names(db_path, run_id)
        return json_answer({"names": names[SeriesKind.METRIC], "system": names[SeriesKind.SYSTEM]})

    @routes.get("/runs/{run_id:path}/metrics", summary="The points of a series, thinned so that lows and highs stay")
    def metrics(
        run_id: str,
        name: Annotated[list[str], Query(min_length=1, max_length=MAX_SERIES)],
        start: Step = None,
        end: Step = None,
        points: Annotated[int, Query(ge=MIN_POINTS, le=100_000)] = 1000,
    ) -> Response:
        """Points are ``[step, time_ms, value]``. Several names give ``{"series": [{"name", "points"}, …]}``."""
        if not views.run_exists(db_path, run_id):
            return _no_such_run(run_id)
        series = [
            {"name": one, "points": views.metric_points(db_path, run_id, one, start=start, end=end, limit=points)}
            for one in name
        ]
        return json_answer(series[0] if len(series) == 1 else {"series": series})


def _no_such_run(run_id: str) -> Response:
    return error_answer(404, "no_such_run", f"there is no run {run_id!r:.200}")
