"""``/api/v1/experiments``: experiments and their trials for whoever looks; a controller's post, inbox, receipts."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from starlette.responses import StreamingResponse

from flashtrial.protocol.control import Receipt
from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.control import control_views
from flashtrial.server.control.command_rows import CommandRow
from flashtrial.server.control.control_views import ExperimentView, Page
from flashtrial.server.control.desk import ControlDesk
from flashtrial.server.control.epochs import Denied, Post
from flashtrial.server.control.json_views import command_json, experiment_json, trial_json
from flashtrial.server.control.streams import command_stream, inbox_stream
from flashtrial.server.events import LISTENING, STILL_HERE, event
from flashtrial.server.records import MAX_INT64
from flashtrial.server.routes import control_shapes as shapes
from flashtrial.server.routes.commands import Limit, Place
from flashtrial.server.routes.control_answers import command_answer, denial, when_busy
from flashtrial.server.routes.shapes import ERRORS

LONGEST_WAIT_S = 60.0

Number = Annotated[int, Path(ge=1, le=MAX_INT64)]
Epoch = Annotated[int, Query(ge=0, le=MAX_INT64)]
Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT_S)]


def router(desk: ControlDesk) -> APIRouter:
    """The routes, over the desk."""
    routes = APIRouter(prefix="/api/v1/experiments", tags=["control"], responses=ERRORS)
    _add_views(routes, desk)
    _add_posts(routes, desk)
    _add_inbox(routes, desk)
    _add_streams(routes, desk)
    return routes


def _add_views(routes: APIRouter, desk: ControlDesk) -> None:
    def shown(experiment: ExperimentView) -> dict[str, object]:
        return experiment_json(experiment, is_connected=desk.is_connected(experiment))

    @routes.get("", summary="Experiments, the one begun last first", response_model=shapes.ExperimentsShape)
    async def experiments(offset: Place = 0, limit: Limit = 100) -> Response:
        found = await asyncio.to_thread(control_views.experiments, desk.db_path, Page(offset, limit + 1))
        following = offset + limit if len(found) > limit else None
        return json_answer({"experiments": [shown(each) for each in found[:limit]], "next": following})

    @routes.get("/{number}", summary="One experiment", response_model=shapes.ExperimentShape)
    async def experiment(number: Number) -> Response:
        found = await asyncio.to_thread(control_views.experiment_of, desk.db_path, number)
        return _no_such_experiment(number) if found is None else json_answer(shown(found))

    @routes.get("/{number}/trials", summary="Trials by their run id", response_model=shapes.TrialsShape)
    def trials(number: Number, offset: Place = 0, limit: Limit = 100) -> Response:
        found = control_views.trials(desk.db_path, number, Page(offset, limit + 1))
        if not found and control_views.experiment_of(desk.db_path, number) is None:
            return _no_such_experiment(number)
        following = offset + limit if len(found) > limit else None
        return json_answer({"trials": [trial_json(each) for each in found[:limit]], "next": following})

    @routes.get("/{number}/trials/{run_id}", summary="One trial", response_model=shapes.TrialShape)
    def trial(number: Number, run_id: Number) -> Response:
        found = control_views.trial_of(desk.db_path, number, run_id)
        if found is None:
            return error_answer(404, "no_such_trial", f"there is no run {run_id} in experiment {number}")
        return json_answer(trial_json(found))


def _add_posts(routes: APIRouter, desk: ControlDesk) -> None:
    @routes.post("", summary="Become the controller of an experiment", response_model=shapes.RegisteredShape)
    @when_busy
    async def register(body: shapes.RegistrationBody) -> Response:
        """The experiment is created where its name is new. Whoever was its controller is superseded; repeating the
        request with the same `controller_id` gives the same epoch."""
        post = await desk.register(body.name, body.controller_id)
        return json_answer({"experiment": post.experiment, "epoch": post.epoch})

    @routes.post("/{number}/run-ids", summary="Reserve ids of runs", response_model=shapes.RunIdsShape)
    @when_busy
    async def run_ids(number: Number, body: shapes.RunIdsBody) -> Response:
        first = await desk.reserve_run_ids(Post(number, body.epoch), body.count)
        return denial(first) if isinstance(first, Denied) else json_answer({"first": first, "count": body.count})

    @routes.post(
        "/{number}/receipts",
        summary="Settle a command before it is carried out; repeating it is safe",
        response_model=shapes.CommandShape,
    )
    @when_busy
    async def receipts(number: Number, body: shapes.ReceiptBody) -> Response:
        """Answered 200, carry it out; 409 `withdrawn`, `expired`, `superseded` or `already_settled`, do not."""
        told = (body.refusal, body.reason, body.new_run_id)
        return command_answer(await desk.settle(Post(number, body.epoch), Receipt(body.command_id, body.epoch, *told)))


def _add_inbox(routes: APIRouter, desk: ControlDesk) -> None:
    @routes.get("/{number}/inbox", summary="Commands that wait, by long poll", response_model=shapes.CommandsShape)
    async def inbox(number: Number, epoch: Epoch, after: Place = 0, wait_s: Wait = 0.0) -> Response:
        """Those behind the number `after`, as soon as there are any, none when the time is over. What has no receipt
        is there again for whoever asks from 0."""
        if desk.hub.is_full:
            return _too_many_listen()
        found = await desk.inbox(Post(number, epoch), after, wait_s)
        if isinstance(found, Denied):
            return denial(found)
        following = found[-1].number if found else after
        return json_answer({"commands": [command_json(row) for row in found], "next": following})

    @routes.get(
        "/{number}/inbox/events",
        summary="Server-sent events: commands that wait",
        response_class=StreamingResponse,
    )
    async def inbox_events(number: Number, epoch: Epoch) -> Response:
        """Each is a ``command``; ``denied`` is the last event of a controller that was superseded."""
        post = Post(number, epoch)
        problem = await desk.look_into(post, 0)
        if desk.hub.is_full:
            return _too_many_listen()
        return denial(problem) if isinstance(problem, Denied) else _stream(inbox_stream(desk, post))


def _add_streams(routes: APIRouter, desk: ControlDesk) -> None:
    @routes.get(
        "/{number}/events",
        summary="Server-sent events: commands that are new or were settled",
        response_class=StreamingResponse,
    )
    async def command_events(number: Number) -> Response:
        """Each is a ``command``; the newest hundred are told first, the oldest of them first."""
        if await asyncio.to_thread(control_views.experiment_of, desk.db_path, number) is None:
            return _no_such_experiment(number)
        if desk.hub.is_full:
            return _too_many_listen()
        return _stream(command_stream(desk, number))


def _stream(moves: AsyncIterator[list[CommandRow]] | AsyncIterator[list[CommandRow] | Denied]) -> Response:
    return StreamingResponse(_blocks(moves), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _blocks(
    moves: AsyncIterator[list[CommandRow]] | AsyncIterator[list[CommandRow] | Denied],
) -> AsyncIterator[bytes]:
    yield LISTENING
    async for moved in moves:
        if isinstance(moved, Denied):
            yield event("denied", {"error": moved.slug, "message": moved.reason})
        else:
            yield b"".join(event("command", command_json(row)) for row in moved) or STILL_HERE


def _no_such_experiment(number: int) -> Response:
    return error_answer(404, "no_such_experiment", f"there is no experiment {number}")


def _too_many_listen() -> Response:
    words = "too many clients listen for commands: ask again later"
    return error_answer(503, "too_many_streams", words, {"Retry-After": "10"})
