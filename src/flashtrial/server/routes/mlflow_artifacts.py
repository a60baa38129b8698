"""Artifacts by MLflow's protocol: the proxy that its clients put files to and get them from, and what its pages ask."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from flashtrial.server.answers import json_answer
from flashtrial.server.files.blobs import StoreFull, TooLarge
from flashtrial.server.files.content import blob_answer
from flashtrial.server.neighbours.mlflow.artifacts import Place, checked_path
from flashtrial.server.neighbours.mlflow.errors import BUSY, TOO_LARGE, MlflowError
from flashtrial.server.neighbours.mlflow.wire import MlflowWire
from flashtrial.server.routes import mlflow
from flashtrial.server.routes.mlflow import answered, error
from flashtrial.server.routes.receiving import receive

PREFIXES = ("/api/2.0/mlflow-artifacts/artifacts", "/ajax-api/2.0/mlflow-artifacts/artifacts")


def router(wire: MlflowWire) -> APIRouter:
    """The routes, storing into the started blob store of `wire`."""
    routes = APIRouter(include_in_schema=False)
    for prefix in PREFIXES:
        _add_proxy(routes, prefix, wire)
    for prefix in mlflow.PREFIXES:
        _add_list(routes, prefix, wire)
    for path in ("/get-artifact", "/ajax-api/2.0/mlflow/get-artifact"):
        _add_get(routes, path, wire)
    return routes


def _add_proxy(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    async def put(path: str, request: Request) -> Response:
        return await _put(wire, path, request)

    def get(path: str, request: Request) -> Response:
        return answered(lambda: _file(wire, wire.artifacts.place(path), request))

    def remove(path: str) -> Response:
        def removed() -> Response:
            wire.artifacts.remove(wire.artifacts.place(path))
            return json_answer({})

        return answered(removed)

    def listed(request: Request) -> Response:
        """Paths are relative to the one that is asked for."""

        def below() -> Response:
            place = wire.artifacts.place(request.query_params.get("path", ""))
            found = wire.artifacts.listed(place)
            prefix = f"{place.path}/" if place.path else ""
            return json_answer({"files": [{**each, "path": _relative(each["path"], prefix)} for each in found]})

        return answered(below)

    routes.add_api_route(f"{prefix}/{{path:path}}", put, methods=["PUT"])
    routes.add_api_route(f"{prefix}/{{path:path}}", get, methods=["GET"])
    routes.add_api_route(f"{prefix}/{{path:path}}", remove, methods=["DELETE"])
    routes.add_api_route(prefix, listed, methods=["GET"])


def _add_list(routes: APIRouter, prefix: str, wire: MlflowWire) -> None:
    def listed(request: Request) -> Response:
        def below() -> Response:
            place = _asked(wire, request)
            shown = wire.runs.show(wire.runs.view(place.run_id))
            return json_answer({"root_uri": shown["info"]["artifact_uri"], "files": wire.artifacts.listed(place)})

        return answered(below)

    routes.add_api_route(f"{prefix}/artifacts/list", listed, methods=["GET"])


def _add_get(routes: APIRouter, path: str, wire: MlflowWire) -> None:
    def get(request: Request) -> Response:
        return answered(lambda: _file(wire, _asked(wire, request), request))

    routes.add_api_route(path, get, methods=["GET"])


async def _put(wire: MlflowWire, path: str, request: Request) -> Response:
    try:
        place = await run_in_threadpool(wire.artifacts.place, path)
        with wire.artifacts.store.incoming() as incoming:
            await receive(request, incoming)
            key = await run_in_threadpool(incoming.commit)
    except TooLarge as problem:
        return error(MlflowError(str(problem), TOO_LARGE))
    except StoreFull as problem:
        return error(MlflowError(str(problem), BUSY))
    except MlflowError as problem:
        return error(problem)

    def store() -> Response:
        wire.artifacts.put(place, key)
        return json_answer({})

    return await run_in_threadpool(answered, store)


def _file(wire: MlflowWire, place: Place, request: Request) -> Response:
    path, file = wire.artifacts.file(place)
    return blob_answer(path, file["sha256"], file["mime"], file["file_name"], request.headers.get("if-none-match"))


def _asked(wire: MlflowWire, request: Request) -> Place:
    """The run and path of a query string. Raises `MlflowError`."""
    query = request.query_params
    run = wire.runs.view(query.get("run_id") or query.get("run_uuid"))
    return Place(run["id"], checked_path(query.get("path", "")))


def _relative(path: str, prefix: str) -> str:
    return path.removeprefix(prefix) if path.startswith(prefix) else path.rpartition("/")[2]
