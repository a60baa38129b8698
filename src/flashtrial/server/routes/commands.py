"""``/api/v1/commands``: what dashboards want of trials. A command is written, then its receipt waited for."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from flashtrial.core.ids import new_id
from flashtrial.protocol.control import Command, CommandState
from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.control import control_views
from flashtrial.server.control.control_views import Page
from flashtrial.server.control.desk import ControlDesk
from flashtrial.server.control.epochs import Denied
from flashtrial.server.control.json_views import command_json
from flashtrial.server.records import MAX_INT64
from flashtrial.server.routes.control_answers import command_answer, denial, when_busy
from flashtrial.server.routes.control_shapes import CommandBody, CommandShape, CommandsShape
from flashtrial.server.routes.shapes import ERRORS
from flashtrial.server.views import MAX_PAGE

Place = Annotated[int, Query(ge=0, le=MAX_INT64)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Key = Annotated[int, Query(ge=1, le=MAX_INT64)]


def router(desk: ControlDesk) -> APIRouter:
    """The routes, over the desk."""
    routes = APIRouter(prefix="/api/v1/commands", tags=["control"], responses=ERRORS)
    _add_writing(routes, desk)
    _add_reading(routes, desk)
    return routes


def _add_writing(routes: APIRouter, desk: ControlDesk) -> None:
    @routes.post(
        "",
        summary="Command something of a trial; repeating it with its id is safe",
        response_model=CommandShape,
        responses={202: {"model": CommandShape, "description": "Written; no controller has answered yet"}},
    )
    @when_busy
    async def command(body: CommandBody) -> Response:
        """Answers when the controller has, or after 3 s with 202; the command then waits until it expires."""
        written = await desk.write(body.experiment, _command(body, desk.now()))
        if isinstance(written, Denied):
            return denial(written)
        row = written if written.state.is_settled else await desk.receipt_for(written, desk.receipt_wait_s)
        return command_answer(row, 200 if row.state.is_settled else 202)

    @routes.delete("/{command_id:path}", summary="Withdraw a command that waits", response_model=CommandShape)
    @when_busy
    async def withdraw(command_id: str) -> Response:
        row = await desk.withdraw(command_id)
        if row is None:
            return _no_such_command(command_id)
        if row.state in (CommandState.DONE, CommandState.REFUSED):
            return error_answer(409, "already_settled", f"the controller has answered already: {row.state}")
        return command_answer(row)


def _command(body: CommandBody, now_ms: int) -> Command:
    expires_ms = now_ms + round(1000 * body.expires_in_s)
    asked = (body.run_id, body.kind, expires_ms, body.seen_version, body.config, body.warm_start)
    return Command(body.id or new_id("cmd"), *asked)


def _add_reading(routes: APIRouter, desk: ControlDesk) -> None:
    @routes.get("", summary="Commands, newest first", response_model=CommandsShape)
    def commands(experiment: Key | None = None, offset: Place = 0, limit: Limit = 100) -> Response:
        rows = control_views.commands(desk.db_path, experiment, Page(offset, limit + 1), desk.now())
        shown = [command_json(row) for row in rows[:limit]]
        return json_answer({"commands": shown, "next": offset + limit if len(rows) > limit else None})

    @routes.get("/{command_id:path}", summary="One command, and what came of it", response_model=CommandShape)
    async def one(command_id: str) -> Response:
        row = await asyncio.to_thread(control_views.command_of, desk.db_path, command_id, desk.now())
        return _no_such_command(command_id) if row is None else command_answer(row)


def _no_such_command(command_id: str) -> Response:
    return error_answer(404, "no_such_command", f"there is no command {command_id!r:.200}")
