"""MLflow's REST protocol, as far as tracking goes: experiments, runs, metrics, at the two prefixes that clients use.

Reads a GET's question from the query string and a POST's from its JSON body, and answers in MLflow's shape, errors too:
``{"error_code", "message"}``. Numbers that JSON has no sign for are words, as protobuf writes them.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from flashtrial.server.answers import json_answer
from flashtrial.server.commit_queue import NotRunning, QueueFull
from flashtrial.server.neighbours.fresh_runs import FreshRuns
from flashtrial.server.neighbours.mlflow.errors import BUSY, INVALID, MISSING, NO_ENDPOINT, MlflowError
from flashtrial.server.neighbours.mlflow.experiments import ACTIVE, DELETED, Experiment, key_values
from flashtrial.server.neighbours.mlflow.wire import MlflowWire
from flashtrial.server.neighbours.recorder import NotStored
from flashtrial.server.neighbours.wire_json import BadJson, loads_map
from flashtrial.server.routes.making import made

PREFIXES = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")

SERVED = "of MLflow there are experiments, runs, metrics, parameters, tags, data sets, artifacts and logged models"

Said: TypeAlias = Mapping[str, Any]
Answering: TypeAlias = Callable[[Said], object]

_LISTS = frozenset({"run_ids", "run_id", "experiment_ids", "order_by"})


def router(wire: MlflowWire) -> APIRouter:
    """The routes; artifacts are those of `mlflow_artifacts.router`, and `unknown` says that there are no more."""
    routes = APIRouter(include_in_schema=False)
    for prefix in PREFIXES:
        _add_experiments(routes, prefix, wire)
        _add_runs(routes, prefix, wire)
        _add_logging(routes, prefix, wire)
        _add_metrics(routes, prefix, wire)
    return routes


def unknown() -> APIRouter:
    """What answers every other path of MLflow's; to be included after all its routes."""
    routes = APIRouter(include_in_schema=False)

    def nothing_here(path: str) -> Response:
        return error(MlflowError(f"{path[:200]!r} is not served here: {SERVED}", NO_ENDPOINT))

    for prefix in ("/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"):
        for name in ("mlflow", "mlflow-artifacts"):
            routes.add_api_route(
                f"{prefix}/{name}/{{path:path}}", nothing_here, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]
            )
    return routes


def add(routes: APIRouter, method: str, path: str, answer: Answering, needs: Sequence[str] = ()) -> None:
    """Answer `path` with the JSON of what `answer` gives for the question, on a thread.

    A question without one of `needs` is refused.
    """

    async def route(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(answered, lambda: json_answer(answer(_complete(_said(request, body), needs))))

    routes.add_api_route(path, route, methods=[method], name=f"mlflow {path}")


def answered(answer: Callable[[], Response]) -> Response:
    """What `answer` gives, or what it raises in MLflow's shape."""
    try:
        return answer()
    except MlflowError as problem:
        return error(problem)
    except BadJson as problem:
        return error(MlflowError(f"Malformed request: {problem}", "MALFORMED_REQUEST"))
    except (QueueFull, NotRunning, NotStored, sqlite3.OperationalError) as problem:
        return error(MlflowError(str(problem), BUSY))


def error(problem: MlflowError) -> Response:
    """An error as MLflow's clients read it."""
    return json_answer({"error_code": problem.code, "message": str(problem)}, problem.status)


def _said(request: Request, body: bytes) -> dict[str, Any]:
    if request.method != "GET":
        return loads_map(body)
    query = request.query_params
    return {name: query.getlist(name) if name in _LISTS and name != "run_id" else query[name] for name in query}


def _complete(said: dict[str, Any], needs: Sequence[str]) -> dict[str, Any]:
    """`said`, which has all that is needed. Raises `MlflowError`."""
    if said.get("run_id") in (None, "") and said.get("run_uuid"):  # what clients before MLflow 1 say
        said = {**said, "run_id": said["run_uuid"]}
    for name in needs:
        if said.get(name) in (None, ""):
            raise MlflowError(f"Missing value for required parameter {name!r}.", INVALID)
    return said


def _add_experiments(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    experiments = wire.experiments

    def find(said: Said) -> Experiment:
        return experiments.find(said["experiment_id"])

    def create(said: Said) -> object:
        return {"experiment_id": str(experiments.create(said["name"], key_values(said.get("tags"))).number)}

    def get(said: Said) -> object:
        return {"experiment": find(said).shown()}

    def get_by_name(said: Said) -> object:
        found = experiments.named(said["experiment_name"])
        if found is None:
            raise MlflowError(f"Could not find experiment with name '{said['experiment_name']}'", MISSING)
        return {"experiment": found.shown()}

    def on(path: str, change: Callable[[Said], None], *needs: str) -> None:
        def answer(said: Said) -> object:
            change(said)
            return {}

        add(routes, "POST", f"{prefix}/experiments/{path}", answer, ("experiment_id", *needs))

    def tag(said: Said) -> None:
        value = said.get("value")
        experiments.change_tags(find(said), {str(said["key"]): "" if value is None else str(value)})

    add(routes, "POST", f"{prefix}/experiments/create", create, ("name",))
    add(routes, "GET", f"{prefix}/experiments/get", get, ("experiment_id",))
    add(routes, "GET", f"{prefix}/experiments/get-by-name", get_by_name, ("experiment_name",))
    on("update", lambda said: experiments.rename(find(said), said["new_name"]), "new_name")
    on("delete", lambda said: experiments.set_stage(find(said), DELETED))
    on("restore", lambda said: experiments.set_stage(find(said), ACTIVE))
    on("set-experiment-tag", tag, "key")
    on("delete-experiment-tag", lambda said: experiments.change_tags(find(said), {str(said["key"]): None}), "key")
    for method in ("GET", "POST"):
        add(routes, method, f"{prefix}/experiments/search", wire.search_experiments)


def _add_runs(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    runs = wire.runs

    def stage(name: str) -> Answering:
        def move(said: Said) -> object:
            runs.set_stage(said["run_id"], name)
            return {}

        return move

    def get(said: Said) -> object:
        return {"run": runs.show(runs.view(said["run_id"]))}

    fresh = FreshRuns()

    async def create(request: Request) -> Response:
        body = await request.body()

        def run(run_id: str) -> Response:
            return answered(lambda: json_answer({"run": runs.create(_said(request, body), run_id)}))

        return await made(fresh, request, lambda: uuid4().hex, run, runs.is_deleted)

    def update(said: Said) -> object:
        return {"run_info": runs.update(said)["info"]}

    routes.add_api_route(f"{prefix}/runs/create", create, methods=["POST"])
    add(routes, "POST", f"{prefix}/runs/update", update, ("run_id",))
    add(routes, "GET", f"{prefix}/runs/get", get, ("run_id",))
    add(routes, "POST", f"{prefix}/runs/search", wire.search_runs)
    add(routes, "POST", f"{prefix}/runs/delete", stage(DELETED), ("run_id",))
    add(routes, "POST", f"{prefix}/runs/restore", stage(ACTIVE), ("run_id",))


def _add_logging(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    runs = wire.runs

    def on(path: str, act: Callable[[Said], None], *needs: str) -> None:
        def answer(said: Said) -> object:
            act(said)
            return {}

        add(routes, "POST", f"{prefix}/runs/{path}", answer, ("run_id", *needs))

    def one(what: str) -> Callable[[Said], None]:
        """A request that brings one thing is a batch of it."""
        return lambda said: runs.log({"run_id": said["run_id"], what: [said]})

    on("log-batch", runs.log)
    on("log-metric", one("metrics"), "key", "value", "timestamp")
    on("log-parameter", one("params"), "key")
    on("set-tag", one("tags"), "key")
    on("delete-tag", runs.delete_tag, "key")
    on("log-inputs", runs.add_inputs)


def _add_metrics(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    def bulk(said: Said) -> object:
        ids = said.get("run_ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= 100:
            raise MlflowError("GetMetricHistoryBulkInterval request must specify 1 to 100 run_ids.", INVALID)
        return wire.bulk_interval(ids, said)

    add(routes, "GET", f"{prefix}/metrics/get-history", wire.history, ("run_id", "metric_key"))
    add(routes, "GET", f"{prefix}/metrics/get-history-bulk-interval", bulk, ("run_ids", "metric_key"))
