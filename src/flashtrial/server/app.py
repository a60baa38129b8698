"""The server as one ASGI app, built here from its parts. Building opens nothing: the lifespan does, and undoes it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

import flashtrial
from flashtrial.core.clock import Clock, SystemClock
from flashtrial.server.access.bearer import BearerGuard, Doorkeeper
from flashtrial.server.access.meter import RequestCounts, RequestMeter
from flashtrial.server.access.patience import BodyPatience
from flashtrial.server.access.rates import Rates
from flashtrial.server.answers import error_answer
from flashtrial.server.control.desk import ControlDesk
from flashtrial.server.counters import IngestCounters
from flashtrial.server.dispatcher.cors import LOCAL_FRONT_ENDS, PREFIX, DispatcherCors
from flashtrial.server.events import EventHub
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.files.cleanup import remove_forgotten
from flashtrial.server.inflation import Inflation
from flashtrial.server.repository import Repository
from flashtrial.server.routes import (
    blobs,
    commands,
    dispatcher,
    experiments,
    files,
    health,
    heartbeat,
    ingest,
    neighbours,
    pages,
    query,
    removal,
)
from flashtrial.server.security import SECURITY_HEADERS, BodyLimit, HostGuard, SecurityHeaders
from flashtrial.server.settings import ServerSettings
from flashtrial.server.upkeep import keep_up

__all__ = ["ServerSettings", "create_app", "end_streams", "say_leaving"]

logger = logging.getLogger(__name__)

GUESSES_PER_S, GUESSES_AT_ONCE = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the app is made of and the lifespan starts."""

    repository: Repository
    events: EventHub
    counters: IngestCounters
    blobs: BlobStore
    desk: ControlDesk
    settings: ServerSettings
    requests: RequestCounts = field(default_factory=RequestCounts)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)


def create_app(settings: ServerSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """The server for `settings`, else for what the environment says; nothing is opened before its lifespan starts.

    Whoever serves it calls `end_streams` before waiting for open connections to end.
    """
    settings = settings or ServerSettings.from_env()
    events = EventHub(max_listeners=settings.max_streams)
    clock = clock or SystemClock()
    repository = Repository(
        settings.db_path,
        clock,
        events.publish,
        settings.silent_after_s,
        mask_secrets=settings.mask_secrets,
        reserve_bytes=settings.reserve_bytes,
    )
    parts = _Parts(
        repository,
        events,
        IngestCounters(),
        BlobStore(settings.blobs_dir, settings.blob_limits),
        ControlDesk(repository, settings.db_path, clock, settings.receipt_wait_s),
        settings,
    )
    app = FastAPI(
        title="flashtrial",
        version=flashtrial.__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda _: _running(parts),
    )
    app.state.hubs = (events, parts.desk.hub)
    app.state.leaving = parts.leaving
    _add_routes(app, settings, parts)
    app.include_router(neighbours.router(parts.repository, parts.blobs, settings, clock))
    _add_guards(app, settings, clock)
    app.add_middleware(RequestMeter, counts=parts.requests, is_logging=settings.access_log)
    return app


def say_leaving(app: FastAPI) -> None:
    """Let ``/readyz`` say from now on that the server is about to stop, for balancers and watchers; on its loop."""
    leaving: asyncio.Event = app.state.leaving
    leaving.set()


def end_streams(app: FastAPI) -> None:
    """End the event streams of an app made by `create_app`: on its loop, when it is about to stop; twice is fine."""
    say_leaving(app)
    hubs: tuple[EventHub, ...] = app.state.hubs
    for hub in hubs:
        hub.close()


@contextlib.asynccontextmanager
async def _running(parts: _Parts) -> AsyncIterator[None]:
    parts.events.open()
    parts.desk.hub.open()
    await run_in_threadpool(parts.repository.start)
    await run_in_threadpool(parts.blobs.start)
    clean = partial(remove_forgotten, parts.blobs, parts.settings.db_path)
    upkeep = asyncio.create_task(
        keep_up(parts.repository, parts.blobs, parts.settings.silent_after_s, parts.settings.retention, clean),
        name="upkeep",
    )
    try:
        yield
    finally:
        parts.events.close()
        parts.desk.hub.close()
        upkeep.cancel()
        await asyncio.wait([upkeep])
        await run_in_threadpool(parts.repository.stop)


def _add_routes(app: FastAPI, settings: ServerSettings, parts: _Parts) -> None:
    app.include_router(ingest.router(parts.repository, parts.counters))
    app.include_router(heartbeat.router(parts.repository))
    app.include_router(blobs.router(parts.blobs, settings.db_path))
    app.include_router(files.router(parts.blobs, settings.db_path))
    app.include_router(removal.router(parts.repository, parts.blobs))
    app.include_router(experiments.router(parts.desk))
    app.include_router(commands.router(parts.desk))
    app.include_router(dispatcher.router(parts.desk))
    app.include_router(query.router(settings.db_path, parts.events))
    app.include_router(
        health.router(
            parts.repository,
            parts.events,
            counters=parts.counters,
            requests=parts.requests,
            blobs=parts.blobs,
            db_path=settings.db_path,
            is_leaving=parts.leaving.is_set,
        )
    )
    app.include_router(pages.router(settings.static_dir))
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_bad_question)
    app.add_exception_handler(Exception, _on_our_fault)


def _add_guards(app: FastAPI, settings: ServerSettings, clock: Clock) -> None:
    """The last one added is the first that a request meets."""
    limited, streamed = ("/api", PREFIX, *neighbours.PREFIXES), neighbours.STREAMED
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, prefixes=limited, except_below=streamed)
    app.add_middleware(Inflation, path="/api/v1/ingest")
    app.add_middleware(BodyPatience, patience_s=settings.body_patience_s)
    if settings.token is not None:
        app.add_middleware(
            BearerGuard,
            doorkeeper=Doorkeeper(settings.home, settings.token, clock),
            rates=Rates(clock, settings.requests_per_s, settings.requests_at_once),
            guesses=Rates(clock, GUESSES_PER_S, GUESSES_AT_ONCE),
            prefixes=limited,
        )
    app.add_middleware(HostGuard, hosts=settings.allowed_hosts, origins=settings.allowed_origins)
    app.add_middleware(DispatcherCors, origins=(*LOCAL_FRONT_ENDS, *settings.dispatcher_origins))
    app.add_middleware(SecurityHeaders)


_SLUGS = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    slug = _SLUGS.get(error.status_code, "http_error")
    return error_answer(error.status_code, slug, str(error.detail), dict(error.headers or {}))


async def _on_bad_question(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
    return error_answer(422, "bad_question", "; ".join(problems))


async def _on_our_fault(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error, extra={"action": "route_failed"})
    # This answer is made outside of all guards, so it brings its own headers.
    return error_answer(500, "internal", "the server failed to answer; its log says why", SECURITY_HEADERS)
