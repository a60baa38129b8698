"""``/healthz``: this process lives; ``/readyz``: it can store; ``/metrics``: its counts, for Prometheus."""

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

import flashtrial
from flashtrial.server import views
from flashtrial.server.access.meter import RequestCounts
from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.counters import CONTENT_TYPE, Gauges, IngestCounters, exposition
from flashtrial.server.events import EventHub
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.repository import Repository
from flashtrial.server.routes.shapes import ErrorShape, HealthShape, ReadyShape
from flashtrial.server.storage.reserve import has_room


def router(
    repository: Repository,
    events: EventHub,
    *,
    counters: IngestCounters,
    requests: RequestCounts,
    blobs: BlobStore,
    db_path: Path,
    is_leaving: Callable[[], bool],
) -> APIRouter:
    """The routes; none of them needs a token, and none tells more than numbers."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="Does the process live?", response_model=HealthShape)
    async def healthz() -> Response:
        return json_answer({"status": "ok", "name": "flashtrial", "version": flashtrial.__version__})

    @routes.get(
        "/readyz",
        summary="Will records be stored?",
        response_model=ReadyShape,
        responses={503: {"model": ErrorShape}},
    )
    async def readyz() -> Response:
        """Not before the database is migrated and open, not while its disk is full, and no more from the moment that
        the server is told to stop."""
        if is_leaving():
            return error_answer(503, "leaving", "the server is about to stop", {"Retry-After": "5"})
        if not repository.is_ready:
            return error_answer(503, "not_ready", "the database is not open for writing", {"Retry-After": "1"})
        if not await run_in_threadpool(has_room, db_path):
            words = "the disk is full: make room on it, or remove runs"
            return error_answer(503, "disk_full", words, {"Retry-After": "10"})
        return json_answer({"status": "ready"})

    @routes.get("/metrics", summary="Counts, as Prometheus reads them", response_class=PlainTextResponse)
    async def metrics() -> Response:
        by_status = await run_in_threadpool(views.runs_by_status, db_path)
        gauges = Gauges(repository.waiting, events.listeners, _size_of(db_path), blobs.used_bytes, by_status)
        return Response(exposition(counters, gauges) + "".join(requests.lines()), media_type=CONTENT_TYPE)

    return routes


def _size_of(db_path: Path) -> int:
    """Bytes of the database and of what is not in its main file yet."""
    files = (db_path, db_path.with_name(f"{db_path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
