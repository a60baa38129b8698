"""``/healthz``: this process lives; ``/readyz``: it can store; ``/metrics``: its counts, for Prometheus."""

from pathlib import Path

from fastapi import APIRouter, Response

import flashtrial
from flashtrial.server import views
from flashtrial.server.answers import error_answer, json_answer
from flashtrial.server.counters import CONTENT_TYPE, IngestCounters, exposition
from flashtrial.server.events import EventHub
from flashtrial.server.repository import Repository


def router(repository: Repository, events: EventHub, counters: IngestCounters, db_path: Path) -> APIRouter:
    """The routes; none of them needs a token, and none tells more than numbers."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="Does the process live?")
    async def healthz() -> Response:
        return json_answer({"status": "ok", "name": "flashtrial", "version": flashtrial.__version__})

    @routes.get("/readyz", summary="Will records be stored?")
    async def readyz() -> Response:
        if repository.is_ready:
            return json_answer({"status": "ready"})
        return error_answer(503, "not_ready", "the database is not open for writing", {"Retry-After": "1"})

    @routes.get("/metrics", summary="Counts, as Prometheus reads them")
    def metrics() -> Response:
        page = exposition(counters, repository.waiting, events.listeners, views.runs_by_status(db_path))
        return Response(page, media_type=CONTENT_TYPE)

    return routes
