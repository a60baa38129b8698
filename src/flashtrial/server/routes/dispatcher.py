"""``/dispatcher``: the documented interface between a dashboard and the experiments, in its own paths and words.

Errors are ``{"error": text}``. A control call writes a command that lives as long as its receipt is waited for.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from fastapi import APIRouter, Request, Response

from flashtrial.core.ids import new_id
from flashtrial.protocol.control import Command, CommandKind, CommandState
from flashtrial.protocol.trials import ExperimentStatus
from flashtrial.server.answers import json_answer
from flashtrial.server.commit_queue import NotRunning, QueueFull
from flashtrial.server.control import control_views
from flashtrial.server.control.command_rows import CommandRow
from flashtrial.server.control.control_views import ExperimentView, Page
from flashtrial.server.control.desk import ControlDesk
from flashtrial.server.control.epochs import Denied
from flashtrial.server.dispatcher import asked, shown
from flashtrial.server.dispatcher.asked import BadRequest
from flashtrial.server.dispatcher.words import DONE_MESSAGE, REFUSAL_STATUS

ALIVE = "Dispatcher is up and running"
NOT_CONNECTED = "controller not connected"

Answering: TypeAlias = Callable[[Request], Awaitable[Response]]
_BODY = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}
_NAME = {"parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]}


def router(desk: ControlDesk) -> APIRouter:
    """The routes, over the desk."""
    routes = APIRouter(prefix="/dispatcher", tags=["dispatcher"])
    _add_runs(routes, desk)
    _add_experiments(routes, desk)
    _add_logs(routes, desk)
    _add_control(routes, desk)
    return routes


def _answering(route: Answering) -> Answering:
    """`route`, with what it raises put into the words of this interface."""

    async def answering(request: Request) -> Response:
        try:
            return await route(request)
        except BadRequest as error:
            return _error(400, str(error))
        except (QueueFull, NotRunning, sqlite3.Error) as error:
            return _error(503, str(error))

    return answering


def _add(routes: APIRouter, method: str, path: str, summary: str, route: Answering) -> None:
    routes.add_api_route(
        path,
        _answering(route),
        methods=[method],
        summary=summary,
        operation_id=f"dispatcher_{path.strip('/').partition('/')[0].replace('-', '_')}",
        openapi_extra=_BODY if method == "POST" else _NAME if "{name" in path else None,
        response_class=Response,
    )


def _add_runs(routes: APIRouter, desk: ControlDesk) -> None:
    async def health_check(_: Request) -> Response:
        return json_answer(ALIVE)

    async def get_all_runs(request: Request) -> Response:
        experiment = await _experiment(desk, asked.name_in(request.query_params))
        page = asked.page_in(request) or Page()
        if experiment is None:
            return json_answer([])
        found = await asyncio.to_thread(control_views.trials, desk.db_path, experiment.id, page)
        return json_answer([shown.run_shown(trial) for trial in found])

    async def get_run(request: Request) -> Response:
        run_id = asked.run_id_in(await asked.body_of(request))
        trial = await asyncio.to_thread(control_views.any_trial, desk.db_path, run_id)
        return _no_such_run(run_id) if trial is None else json_answer(shown.run_shown(trial))

    _add(routes, "GET", "/health-check", "Whether the dispatcher is there", health_check)
    _add(routes, "GET", "/get-all-runs", "Runs of the current experiment, or of experiment_name", get_all_runs)
    _add(routes, "POST", "/get-run", "One run", get_run)


def _add_experiments(routes: APIRouter, desk: ControlDesk) -> None:
    async def get_names(request: Request) -> Response:
        page = asked.page_in(request) or Page()
        found = await asyncio.to_thread(control_views.experiments, desk.db_path, page)
        return json_answer([experiment.name for experiment in found])

    async def get_running(_: Request) -> Response:
        running = await asyncio.to_thread(control_views.running_experiment, desk.db_path)
        return _error(404, "no experiment is running") if running is None else json_answer(shown.running_shown(running))

    async def get_by_name(request: Request) -> Response:
        name = str(request.path_params["name"])
        found = await asyncio.to_thread(control_views.experiment_of, desk.db_path, name)
        return _no_such_experiment(name) if found is None else json_answer(shown.experiment_shown(found))

    async def is_running(request: Request) -> Response:
        name = asked.name_in(await asked.body_of(request))
        if name is None:
            raise BadRequest("experiment_name is required")
        found = await asyncio.to_thread(control_views.experiment_of, desk.db_path, name)
        return json_answer({"is_running": found is not None and found.status is ExperimentStatus.RUNNING})

    _add(routes, "GET", "/get-all-experiment-names", "Experiments, the one begun last first", get_names)
    _add(routes, "GET", "/get-running-experiment", "The experiment that runs", get_running)
    _add(routes, "GET", "/get-experiment-by-name/{name:path}", "One experiment", get_by_name)
    _add(routes, "POST", "/is-experiment-running", "Whether the experiment runs", is_running)


def _add_logs(routes: APIRouter, desk: ControlDesk) -> None:
    async def commands_of(request: Request, name: str | None) -> list[CommandRow]:
        experiment = await _experiment(desk, name)
        if experiment is None:
            return []
        page = asked.page_in(request) or Page()
        return await asyncio.to_thread(control_views.commands, desk.db_path, experiment.id, page, desk.now())

    async def get_ic_logs(request: Request) -> Response:
        name = asked.name_in(await asked.body_of(request))
        return json_answer(shown.command_lines(await commands_of(request, name)))

    async def get_experiment_logs(request: Request) -> Response:
        experiment = await _experiment(desk, asked.name_in(await asked.body_of(request)))
        page = asked.page_in(request)
        if experiment is None or experiment.tracked_run is None:
            return json_answer([])
        run = experiment.tracked_run
        return json_answer(await asyncio.to_thread(control_views.printed_lines, desk.db_path, run, page))

    async def all_operations(request: Request) -> Response:
        rows = await commands_of(request, asked.name_in(request.query_params))
        return json_answer([shown.operation_shown(row) for row in rows])

    _add(routes, "POST", "/get-ic-logs", "What became of control calls", get_ic_logs)
    _add(routes, "POST", "/get-experiment-logs", "What the controller printed", get_experiment_logs)
    _add(routes, "GET", "/all-operations", "Control calls, newest first", all_operations)


def _add_control(routes: APIRouter, desk: ControlDesk) -> None:
    def control(kind: CommandKind) -> Answering:
        async def call(request: Request) -> Response:
            return await _commanded(desk, kind, await asked.body_of(request))

        return call

    _add(routes, "POST", "/stop-run", "Stop a run", control(CommandKind.STOP))
    _add(routes, "POST", "/resume-run", "Resume a stopped run", control(CommandKind.RESUME))
    _add(routes, "POST", "/delete-run", "Delete a run; it stays listed", control(CommandKind.DELETE))
    _add(routes, "POST", "/clone-modify-run", "Clone a run, modified", control(CommandKind.CLONE_MODIFY))


async def _commanded(desk: ControlDesk, kind: CommandKind, body: Mapping[str, Any]) -> Response:
    run_id, is_clone = asked.run_id_in(body), kind is CommandKind.CLONE_MODIFY
    config, warm_start = (asked.config_in(body), asked.warm_start_in(body)) if is_clone else (None, False)
    trial = await asyncio.to_thread(control_views.any_trial, desk.db_path, run_id)
    if trial is None:
        return _no_such_run(run_id)
    # Nobody can ask for it again by its id, so it ends with the call, also where the server is killed meanwhile.
    expires_ms = desk.now() + round(1000 * desk.receipt_wait_s)
    command = Command(new_id("cmd"), run_id, kind, expires_ms, trial.version, config, warm_start)
    written = await desk.write(trial.experiment, command)
    if isinstance(written, Denied):
        return _error(written.status, written.reason)
    row = await desk.receipt_for(written, desk.receipt_wait_s)
    if not row.state.is_settled:
        row = await desk.withdraw(command.id) or row
    return _outcome(row)


def _outcome(row: CommandRow) -> Response:
    if row.state is CommandState.DONE:
        made = {} if row.new_run_id is None else {"new_run_id": row.new_run_id}
        return json_answer({"message": DONE_MESSAGE[row.command.kind], **made})
    if row.refusal is not None:
        return _error(REFUSAL_STATUS[row.refusal], row.reason or row.refusal)
    return _error(503, NOT_CONNECTED)


async def _experiment(desk: ControlDesk, name: str | None) -> ExperimentView | None:
    """The experiment of that name; without one the current one."""
    if name is None:
        return await asyncio.to_thread(control_views.current_experiment, desk.db_path)
    return await asyncio.to_thread(control_views.experiment_of, desk.db_path, name)


def _no_such_run(run_id: int) -> Response:
    return _error(404, f"there is no run {run_id}")


def _no_such_experiment(name: str) -> Response:
    return _error(404, f"there is no experiment {name!r:.200}")


def _error(status: int, message: str) -> Response:
    return json_answer({"error": message}, status)
