"""``/graphql`` and ``/v1`` as the SDKs call them: make and describe endpoints, templates and volumes; read logs."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from flashtrial.local_runpod import graphql, jobs
from flashtrial.local_runpod.auth import Gate
from flashtrial.local_runpod.catalog import Catalog
from flashtrial.local_runpod.endpoints import Json, Template
from flashtrial.local_runpod.errors import BadRequest, Refusal
from flashtrial.local_runpod.http import MIB, PlainErrorRoute, read_body
from flashtrial.local_runpod.queue import JobQueue
from flashtrial.local_runpod.workers import Workers

log = logging.getLogger(__name__)

BODY_LIMIT_BYTES = MIB
_IN_STOCK = "High"  # with anything less users read that no GPU is to be had

T = TypeVar("T")
Resolver: TypeAlias = Callable[[graphql.Field], Awaitable[Json]]


class _Body(msgspec.Struct):
    query: str
    variables: dict[str, Any] | None = None


class ControlPlane:
    """The platform's management side."""

    def __init__(self, catalog: Catalog, queue: JobQueue, workers: Workers) -> None:
        self._catalog = catalog
        self._queue = queue
        self._workers = workers
        self._resolvers: Mapping[str, Resolver] = {
            "saveEndpoint": self._save_endpoint,
            "deleteEndpoint": self._delete_endpoint,
            "saveTemplate": self._save_template,
            "podTemplate": self._pod_template,
            "gpuTypes": self._gpu_types,
            "cpuFlavors": self._cpu_flavors,
            "myself": self._myself,
        }

    def router(self, gate: Gate) -> APIRouter:
        """Its routes, each behind the gate."""
        router = APIRouter(route_class=PlainErrorRoute, dependencies=[Depends(gate.check_client)])
        router.add_api_route("/graphql", self.operate, methods=["POST"])
        router.add_api_route("/v1/networkvolumes", self.volumes, methods=["GET"])
        router.add_api_route("/v1/networkvolumes", self.save_volume, methods=["POST"])
        router.add_api_route("/v1/pod/{worker_id}/logs", self.logs, methods=["GET"])
        return router

    async def operate(self, request: Request) -> Response:
        """Carry out one operation. What it could not do is told as GraphQL tells it: 200, with ``errors``."""
        body = _decoded(await read_body(request, BODY_LIMIT_BYTES), _Body)
        try:
            data = {
                field.alias: graphql.shaped(await self._resolve(field), field.selections)
                for field in graphql.parse(body.query, body.variables or {})
            }
        except Refusal as refusal:
            return JSONResponse({"errors": [{"message": refusal.message}]})
        return JSONResponse({"data": data})

    async def volumes(self) -> Response:
        """All network volumes."""
        return JSONResponse([dict(volume) for volume in self._catalog.volumes])

    async def save_volume(self, request: Request) -> Response:
        """The volume made, or the one of that name which there is."""
        given = _decoded(await read_body(request, BODY_LIMIT_BYTES), dict[str, Any])
        return JSONResponse(dict(await self._catalog.save_volume(given)))

    async def logs(self, worker_id: str) -> Response:
        """The last lines that a worker printed."""
        return JSONResponse({"container": self._workers.log_lines(worker_id), "system": []})

    async def _resolve(self, field: graphql.Field) -> Json:
        resolver = self._resolvers.get(field.name)
        if resolver is None:
            raise BadRequest(f"{field.name} is not something that a local RunPod can do")
        return await resolver(field)

    async def _save_endpoint(self, field: graphql.Field) -> Json:
        given = _input(field)
        old = self._catalog.environments()
        endpoint = await self._catalog.save_endpoint(given)
        self._replace_workers(old)
        self._workers.tend(endpoint.id)
        log.info(
            "endpoint %s saved as %s",
            endpoint.name,
            endpoint.id,
            extra={"action": "endpoint_saved", "endpoint_id": endpoint.id},
        )
        return endpoint.described()

    async def _delete_endpoint(self, field: graphql.Field) -> Json:
        endpoint_id = _identity(field)
        if await self._catalog.delete_endpoint(endpoint_id) is None:
            raise Refusal(404, f"there is no endpoint {endpoint_id!r} here")
        await self._queue.end_all(endpoint_id, jobs.DELETED)
        self._workers.retire(endpoint_id)
        return None

    async def _save_template(self, field: graphql.Field) -> Json:
        old = self._catalog.environments()
        template = await self._catalog.save_template(_input(field))
        self._replace_workers(old)
        return _template(template)

    async def _pod_template(self, field: graphql.Field) -> Json:
        template = self._catalog.template(_identity(field))
        return None if template is None else _template(template)

    async def _gpu_types(self, field: graphql.Field) -> Json:
        price: Json = {"stockStatus": _IN_STOCK, "minimumBidPrice": 0, "uninterruptablePrice": 0}
        match field.arguments.get("input"):
            case {"ids": [*ids]}:
                return [{"id": gpu_id, "displayName": gpu_id, "lowestPrice": price} for gpu_id in ids]
        return [{"id": "local", "displayName": "this machine's", "lowestPrice": price}]

    async def _cpu_flavors(self, field: graphql.Field) -> Json:
        return [{"id": field.arguments.get("input"), "specifics": {"stockStatus": _IN_STOCK}}]

    async def _myself(self, field: graphql.Field) -> Json:
        account: dict[str, Json] = {"id": "local", "email": None, "flashApps": []}
        account["endpoints"] = [endpoint.described() for endpoint in self._catalog.endpoints]
        for wanted in field.selections:
            if wanted.name == "endpoint":
                endpoint = await self._catalog.find(_identity(wanted))
                account["endpoint"] = None if endpoint is None else endpoint.described()
        return account

    def _replace_workers(self, old: Mapping[str, Mapping[str, str]]) -> None:
        """Let workers go whose environment was changed; environments as they were before are in `old`."""
        for endpoint_id, environment in self._catalog.environments().items():
            if old.get(endpoint_id, environment) != environment:
                self._workers.retire(endpoint_id)


def _decoded(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not what this route takes: {error}") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error


def _input(field: graphql.Field) -> Mapping[str, Json]:
    match field.arguments.get("input"):
        case dict(given):
            return given
    raise BadRequest(f"{field.name} needs an input object")


def _identity(field: graphql.Field) -> str:
    match field.arguments.get("id"):
        case str(identity):
            return identity
    raise BadRequest(f"{field.name} needs an id")


def _template(template: Template) -> dict[str, Json]:
    return {"env": [], **template.given, "id": template.id}
