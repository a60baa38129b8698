"""``GET /api/v1/…``: runs and what is told of them, their output, and the streams that say what changed."""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from flashtrial.protocol.trials import RunStatus
from flashtrial.server import lists, views
from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.events import EventHub
from flashtrial.server.records import MAX_INT64, MAX_NAME_CHARS
from flashtrial.server.routes import series, shapes
from flashtrial.server.routes.shapes import ERRORS
from flashtrial.server.run_stream import RunWatch, run_events
from flashtrial.server.views import MAX_PAGE, BadCursor, BadFilter, ConsoleQuery, RunQuery

MAX_CONDITIONS, MAX_FIELDS = 20, 200
_OF_LISTS = {"limit", "cursor", "project", "status", "tag", "filter", "search", "sort", "fields"}

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Place = Annotated[int, Query(ge=0, le=MAX_INT64)]
Fields = Annotated[list[str], Query(max_length=MAX_FIELDS)]
Words = Annotated[list[str], Query(max_length=MAX_CONDITIONS)]
Text = Annotated[str | None, Query(max_length=MAX_NAME_CHARS)]


def router(db_path: Path, events: EventHub) -> APIRouter:
    """The routes, reading from the database at `db_path`."""
    routes = APIRouter(prefix="/api/v1", tags=["query"], responses=ERRORS)
    # Ids may have slashes in them, so the routes with something behind the id come first.
    series.add_series(routes, db_path)
    _add_streams(routes, db_path, events)
    _add_console(routes, db_path)
    _add_counts(routes, db_path)
    _add_lists(routes, db_path)
    _add_runs(routes, db_path)
    return routes


def _add_streams(routes: APIRouter, db_path: Path, events: EventHub) -> None:
    @routes.get("/events", summary="Server-sent events: which runs changed", response_class=StreamingResponse)
    async def changes() -> Response:
        return _too_many_streams() if events.is_full else _stream(events.stream())

    @routes.get(
        "/runs/{run_id:path}/events",
        summary="Server-sent events of one run: its row, new points, new lines",
        response_class=StreamingResponse,
    )
    async def run_changes(
        run_id: str,
        name: series.Names = (),  # type: ignore[assignment]  # an empty default
        console_after: Place = 0,
        last_event_id: Annotated[str, Header(max_length=MAX_NAME_CHARS)] = "",
    ) -> Response:
        """Events are ``run`` (the run), ``metrics`` (``{"name", "points"}``, from the last step told on) and
        ``console`` (``{"lines", "next"}``). What was there before the stream began is told first; lines from the
        ``Last-Event-ID`` on, where one is sent, else behind `console_after`."""
        if not await asyncio.to_thread(views.run_exists, db_path, run_id):
            return _no_such_run(run_id)
        if events.is_full:
            return _too_many_streams()
        after = max(console_after, _line_id(last_event_id))
        return _stream(run_events(db_path, events, RunWatch(run_id, tuple(name), after)))


def _line_id(last_event_id: str) -> int:
    """The id of the last line that a listener heard before; 0 for what is none of ours."""
    is_ours = last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) < 19
    return int(last_event_id) if is_ours else 0


def _too_many_streams() -> Response:
    words = "too many streams of events are open: close some, or ask again later"
    return error_answer(503, "too_many_streams", words, {"Retry-After": "10"})


def _stream(blocks: object) -> StreamingResponse:
    return StreamingResponse(blocks, media_type="text/event-stream", headers={"Cache-Control": "no-store"})  # type: ignore[arg-type]


def _add_runs(routes: APIRouter, db_path: Path) -> None:
    @routes.get("/runs", summary="Runs, newest first or sorted", response_model=shapes.RunPageShape)
    def runs(
        request: Request,
        *,
        limit: Limit = 100,
        cursor: str | None = None,
        project: Text = None,
        status: RunStatus | None = None,
        tag: Words = [],  # noqa: B006 - FastAPI copies it
        filter: Words = [],  # noqa: A002, B006
        search: Text = None,
        sort: Text = None,
        fields: Fields = [],  # noqa: B006
    ) -> Response:
        """A filter is ``config.NAME OP VALUE`` or ``metric.NAME OP VALUE``, OP one of = != < <= > >=; a name in quotes
        is one key, whatever is in it. A sort is created, updated, name, config.NAME or metric.NAME, with - in front for
        descending. With `fields`, a column, config.NAME or metric.NAME each, runs have those alone, and their id."""
        unknown = sorted(set(request.query_params) - _OF_LISTS)
        if unknown:
            words = f"there is no parameter {', '.join(unknown)!s:.200}: known are {', '.join(sorted(_OF_LISTS))}"
            return error_answer(422, "bad_question", words)
        query = RunQuery(limit, cursor, project, status, tuple(tag), tuple(filter), search, sort, tuple(fields))
        try:
            return json_answer(views.rows_of_runs(db_path, query))
        except BadCursor as error:
            return error_answer(400, "bad_cursor", str(error))
        except BadFilter as error:
            return error_answer(400, "bad_filter", str(error))

    @routes.get("/runs/{run_id:path}", summary="One run", response_model=shapes.RunDetailShape)
    def run(run_id: str) -> Response:
        found = views.read_run(db_path, run_id)
        return _no_such_run(run_id) if found is None else json_answer(found)


def _add_counts(routes: APIRouter, db_path: Path) -> None:
    @routes.get(
        "/runs/{run_id:path}/writers",
        summary="How many records arrived from each writer of a run",
        response_model=shapes.WriterCountsShape,
    )
    def writers(run_id: str) -> Response:
        """Nothing of a writer is missing when `stored` is `max_seq`, and `max_seq` is what it wrote."""
        counts = views.verify_counts(db_path, run_id)
        return json_answer({"writers": counts}) if counts or views.run_exists(db_path, run_id) else _no_such_run(run_id)


def _add_console(routes: APIRouter, db_path: Path) -> None:
    @routes.get(
        "/runs/{run_id:path}/console",
        summary="What the run printed, in the order of arrival",
        response_model=shapes.ConsoleShape,
    )
    def console(
        run_id: str,
        *,
        after: Place = 0,
        before: Annotated[int | None, Query(ge=1, le=MAX_INT64)] = None,
        limit: Limit = MAX_PAGE,
        stream: Annotated[str | None, Query(pattern="^(stdout|stderr)$")] = None,
        search: Text = None,
    ) -> Response:
        """Lines behind the one with id `after`; with `before`, the last ones ahead of that."""
        query = ConsoleQuery(run_id, after, before, limit, stream, search)
        lines = views.find_lines(db_path, query)
        if not lines and not views.run_exists(db_path, run_id):
            return _no_such_run(run_id)
        return json_answer({"lines": lines, "next": lines[-1]["id"] if lines else after})


def _add_lists(routes: APIRouter, db_path: Path) -> None:
    @routes.get("/projects", summary="Projects and how many runs each has", response_model=shapes.CountsShape)
    def projects(offset: Place = 0, limit: Limit = 100) -> Response:
        return json_answer(lists.projects(db_path, offset, limit))

    @routes.get("/tags", summary="Tags and how many runs have each", response_model=shapes.CountsShape)
    def tags(project: Text = None, offset: Place = 0, limit: Limit = 100) -> Response:
        return json_answer(lists.tags(db_path, project, offset, limit))

    @routes.get(
        "/runs/{run_id:path}/changes",
        summary="State, config and tags of a run, as they were told",
        response_model=shapes.ChangesShape,
    )
    def changes(run_id: str, offset: Place = 0, limit: Limit = 100) -> Response:
        if not views.run_exists(db_path, run_id):
            return _no_such_run(run_id)
        return json_answer(lists.changes(db_path, run_id, offset, limit))


def _no_such_run(run_id: str) -> Response:
    return error_answer(404, "no_such_run", f"there is no run {run_id!r:.200}")
