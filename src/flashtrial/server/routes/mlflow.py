"""MLflow's REST protocol, as far as tracking goes: experiments, runs, metrics, at the two prefixes that clients use.

Reads a GET's question from the query string and a POST's from its JSON body, and answers in MLflow's shape, errors too:
``{"error_code", "message"}``. Numbers that JSON has no sign for are words, as protobuf writes them.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from flashtrial.server.answers import json_answer
from flashtrial.server.commit_queue import NotRunning, QueueFull
from flashtrial.server.neighbours.mlflow_errors import BUSY, INVALID, MISSING, NO_ENDPOINT, MlflowError
from flashtrial.server.neighbours.mlflow_experiments import ACTIVE, DELETED, key_values
from flashtrial.server.neighbours.mlflow_wire import MlflowWire
from flashtrial.server.neighbours.recorder import NotStored
from flashtrial.server.neighbours.wire_json import BadJson, loads_map

PREFIXES = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")

Said: TypeAlias = Mapping[str, Any]
Answering: TypeAlias = Callable[[Said, bytes], object]

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
        return error(MlflowError(f"this server has no MLflow endpoint {path[:200]!r}", NO_ENDPOINT))

    for prefix in ("/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"):
        for name in ("mlflow", "mlflow-artifacts"):
            routes.add_api_route(
                f"{prefix}/{name}/{{path:path}}", nothing_here, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]
            )
    return routes


def add(routes: APIRouter, method: str, path: str, answer: Answering) -> None:
    """Answer `path` with the JSON of what `answer` gives for the question and its bytes, on a thread."""

    async def route(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(answered, lambda: json_answer(answer(_said(request, body), body)))

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


def _add_experiments(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    experiments = wire.experiments

    def create(said: Said, _: bytes) -> object:
        return {"experiment_id": str(experiments.create(said.get("name"), key_values(said.get("tags"))).number)}

    def get(said: Said, _: bytes) -> object:
        return {"experiment": experiments.find(said.get("experiment_id")).shown()}

    def get_by_name(said: Said, _: bytes) -> object:
        found = experiments.named(said.get("experiment_name"))
        if found is None:
            raise MlflowError(f"Could not find experiment with name '{said.get('experiment_name')}'", MISSING)
        return {"experiment": found.shown()}

    def update(said: Said, _: bytes) -> object:
        experiments.rename(experiments.find(said.get("experiment_id")), said.get("new_name"))
        return {}

    def stage(name: str) -> Answering:
        def move(said: Said, _: bytes) -> object:
            experiments.set_stage(experiments.find(said.get("experiment_id")), name)
            return {}

        return move

    def tag(said: Said, _: bytes) -> object:
        value = said.get("value")
        news = {str(said.get("key")): None if value is None else str(value)}
        experiments.change_tags(experiments.find(said.get("experiment_id")), news)
        return {}

    add(routes, "POST", f"{prefix}/experiments/create", create)
    add(routes, "GET", f"{prefix}/experiments/get", get)
    add(routes, "GET", f"{prefix}/experiments/get-by-name", get_by_name)
    add(routes, "POST", f"{prefix}/experiments/update", update)
    add(routes, "POST", f"{prefix}/experiments/delete", stage(DELETED))
    add(routes, "POST", f"{prefix}/experiments/restore", stage(ACTIVE))
    add(routes, "POST", f"{prefix}/experiments/set-experiment-tag", tag)
    add(routes, "POST", f"{prefix}/experiments/delete-experiment-tag", tag)
    for method in ("GET", "POST"):
        add(routes, method, f"{prefix}/experiments/search", lambda said, _: wire.search_experiments(said))


def _add_runs(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    runs = wire.runs

    def stage(name: str) -> Answering:
        def move(said: Said, _: bytes) -> object:
            runs.set_stage(said.get("run_id"), name)
            return {}

        return move

    def get(said: Said, _: bytes) -> object:
        return {"run": runs.show(runs.view(said.get("run_id") or said.get("run_uuid")))}

    add(routes, "POST", f"{prefix}/runs/create", lambda said, body: {"run": runs.create(said, body)})
    add(routes, "POST", f"{prefix}/runs/update", lambda said, _: {"run_info": runs.update(said)["info"]})
    add(routes, "GET", f"{prefix}/runs/get", get)
    add(routes, "POST", f"{prefix}/runs/search", lambda said, _: wire.search_runs(said))
    add(routes, "POST", f"{prefix}/runs/delete", stage(DELETED))
    add(routes, "POST", f"{prefix}/runs/restore", stage(ACTIVE))


def _add_logging(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    runs = wire.runs

    def on(path: str, act: Callable[[Said], None]) -> None:
        def answer(said: Said, _: bytes) -> object:
            act(said)
            return {}

        add(routes, "POST", f"{prefix}/runs/{path}", answer)

    def one(what: str) -> Callable[[Said], None]:
        """A request that brings one thing is a batch of it."""
        return lambda said: runs.log({"run_id": said.get("run_id") or said.get("run_uuid"), what: [said]})

    on("log-batch", runs.log)
    on("log-metric", one("metrics"))
    on("log-parameter", one("params"))
    on("set-tag", one("tags"))
    on("delete-tag", runs.delete_tag)
    on("log-inputs", runs.add_inputs)


def _add_metrics(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    def bulk(said: Said, _: bytes) -> object:
        ids = said.get("run_ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= 100:
            raise MlflowError("GetMetricHistoryBulkInterval request must specify 1 to 100 run_ids.", INVALID)
        return wire.bulk_interval(ids, said)

    # The client looks there for artifacts, too; here nothing is a logged model.
    add(routes, "POST", f"{prefix}/logged-models/search", lambda *_: {"models": []})
    add(routes, "GET", f"{prefix}/metrics/get-history", lambda said, _: wire.history(said))
    add(routes, "GET", f"{prefix}/metrics/get-history-bulk-interval", bulk)
