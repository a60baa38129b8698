"""``DELETE /api/v1/runs/{id}``: a run removed for good, with the contents of files that only it named."""

import asyncio

from fastapi import APIRouter, Response

from flashtrial.server.answers import NOT_TAKEN, busy_answer, error_answer, json_answer
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.repository import Repository
from flashtrial.server.routes.shapes import ERRORS, RemovedShape
from flashtrial.server.storage.reserve import is_full
from flashtrial.server.upkeep import forget_blobs


def router(repository: Repository, blobs: BlobStore) -> APIRouter:
    """The route, removing from both."""
    routes = APIRouter(prefix="/api/v1", tags=["control"], responses=ERRORS)

    @routes.delete("/runs/{run_id:path}", summary="Remove a run for good", response_model=RemovedShape)
    async def remove(run_id: str) -> Response:
        """What still comes of it is refused. Runs that were forked from it keep the curves that they began with."""
        try:
            removal = await asyncio.wrap_future(repository.remove(run_id))
        except NOT_TAKEN as error:
            return _no_room() if is_full(error) else busy_answer(error)
        if not removal.run_ids:
            return error_answer(404, "no_such_run", f"there is no run {run_id!r:.200}")
        await asyncio.to_thread(forget_blobs, repository.path, blobs, removal)
        return json_answer({"removed": run_id})

    return routes


def _no_room() -> Response:
    """What was removed in pieces is gone in part; a run that has forks is whole until they have what they inherit."""
    words = (
        "the server's disk is too full to remove this run, of which a part may be gone: "
        "make room on it, or remove its forks or other runs first, and then ask again"
    )
    return error_answer(503, "disk_full", words, {"Retry-After": "10"})
