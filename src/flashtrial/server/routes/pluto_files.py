"""Files of the Pluto wire contract: addresses to put them at, the bytes themselves, and getting them back.

The client sends no token with the bytes; the address is the permission.
"""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from flashtrial.server.files.blobs import StoreFull, TooLarge
from flashtrial.server.files.content import DOWNLOAD, blob_answer
from flashtrial.server.neighbours.permits import NoPermit
from flashtrial.server.neighbours.pluto.files import GET, PUT
from flashtrial.server.neighbours.pluto.wire import PlutoWire
from flashtrial.server.routes.pluto import DONE, Asked, add, answered, json
from flashtrial.server.routes.receiving import receive


def router(wire: PlutoWire) -> APIRouter:
    """The routes, storing into the started blob store of `wire`."""
    routes = APIRouter(include_in_schema=False)

    def addresses(asked: Asked) -> object:
        return wire.files.addresses(wire.runs.find(asked.headers.get("x-run-id")), asked.map(), asked.base)

    add(routes, "POST", "/files", addresses)

    @routes.put("/pluto/put/{permit}")
    async def put(permit: str, request: Request) -> Response:
        return await _put(wire, permit, request)

    @routes.get("/pluto/get/{permit}")
    def get(permit: str, request: Request) -> Response:
        return _get(wire, permit, request.headers.get("if-none-match"))

    return routes


async def _put(wire: PlutoWire, permit: str, request: Request) -> Response:
    try:
        words = wire.files.permit(PUT, permit)
    except NoPermit as error:
        return json({"error": str(error)}, 403)
    mime = request.headers.get("content-type") or DOWNLOAD
    with wire.files.store.incoming() as incoming:
        try:
            await receive(request, incoming)
        except TooLarge as error:
            return json({"error": str(error)}, 413)
        except StoreFull as error:
            return json({"error": str(error)}, 507)
        key = await run_in_threadpool(incoming.commit)

    def store() -> object:
        wire.files.stored(words, key, mime)
        return DONE

    return await run_in_threadpool(answered, store)


def _get(wire: PlutoWire, permit: str, if_none_match: str | None) -> Response:
    try:
        words = wire.files.permit(GET, permit)
    except NoPermit as error:
        return json({"error": str(error)}, 403)
    path = wire.files.store.path_of(words["sha256"])
    if path is None:
        return json({"error": "the file's bytes have not arrived yet"}, 404)
    return blob_answer(path, words["sha256"], words["mime"], words["name"], if_none_match)
