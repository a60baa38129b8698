"""Logged models by MLflow's protocol."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from flashtrial.server.answers import json_answer
from flashtrial.server.neighbours.mlflow.experiments import key_values
from flashtrial.server.neighbours.mlflow.wire import MlflowWire
from flashtrial.server.neighbours.wire_json import loads_map
from flashtrial.server.routes.mlflow import PREFIXES, add, answered

Acting: TypeAlias = Callable[[str, Mapping[str, Any]], object]


def router(wire: MlflowWire) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)
    for prefix in PREFIXES:
        _add_models(routes, prefix, wire)
        _add_one(routes, f"{prefix}/logged-models/{{model_id}}", wire)
    return routes


def _add_models(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    models = wire.models

    def outputs(said: Mapping[str, Any]) -> object:
        models.add_outputs(said)
        return {}

    def history(said: Mapping[str, Any]) -> object:
        models.note_history(said)
        return {}

    add(routes, "POST", f"{prefix}/logged-models", lambda said: {"model": models.create(said)}, ("experiment_id",))
    add(routes, "POST", f"{prefix}/logged-models/search", wire.search_models)
    add(routes, "POST", f"{prefix}/runs/outputs", outputs, ("run_id",))
    add(routes, "POST", f"{prefix}/runs/log-model", history, ("run_id", "model_json"))


def _add_one(routes: APIRouter, path: str, wire: MlflowWire) -> None:
    models = wire.models

    def on(method: str, below: str, act: Acting) -> None:
        async def route(request: Request) -> Response:
            body, model_id = await request.body(), str(request.path_params["model_id"])
            said = request.path_params if method in ("GET", "DELETE") else None
            return await run_in_threadpool(
                answered, lambda: json_answer(act(model_id, loads_map(body) if said is None else said))
            )

        routes.add_api_route(path + below, route, methods=[method], name=f"mlflow {method} {path}{below}")

    def params(model_id: str, said: Mapping[str, Any]) -> object:
        models.put(model_id, "params", key_values(said.get("params")))
        return {}

    def removed(model_id: str, _: Mapping[str, Any]) -> object:
        models.remove(model_id)
        return {}

    def untagged(model_id: str, said: Mapping[str, Any]) -> object:
        models.put(model_id, "tags", {str(said["key"]): None})
        return {}

    on("GET", "", lambda model_id, _: {"model": models.find(model_id)})
    on("PATCH", "", lambda model_id, said: {"model": models.finalize(model_id, said.get("status"))})
    on("DELETE", "", removed)
    on("POST", "/params", params)
    on("PATCH", "/tags", lambda model_id, said: {"model": models.put(model_id, "tags", key_values(said.get("tags")))})
    on("DELETE", "/tags/{key}", untagged)
