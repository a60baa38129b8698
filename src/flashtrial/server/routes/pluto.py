"""The Pluto wire contract: what the unmodified ``pluto-ml`` client sends and expects, on the paths that it asks for.

Bodies are taken apart by hand, and errors are in Pluto's shape: ``{"error": reason}``. A status of 4xx makes the client
throw away what it sent, so what may work later is answered 503.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from flashtrial.core.ids import new_id
from flashtrial.server.answers import JSON
from flashtrial.server.commit_queue import NotRunning, QueueFull
from flashtrial.server.neighbours.fresh_runs import FreshRuns
from flashtrial.server.neighbours.permits import NoPermit
from flashtrial.server.neighbours.pluto.lines import console_entry, data_entry, metric_entries
from flashtrial.server.neighbours.pluto.query import page_of
from flashtrial.server.neighbours.pluto.runs import DISPLAY_PREFIX, Opened, Unwanted
from flashtrial.server.neighbours.pluto.wire import PlutoWire
from flashtrial.server.neighbours.recorder import Entry, NotStored
from flashtrial.server.neighbours.runs import NumberedRun
from flashtrial.server.neighbours.wire_json import BadJson, dumps, lines, loads_map
from flashtrial.server.routes.making import made

ORGANIZATION = "flashtrial"
DONE = {"success": True}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read. `place` is what stands in its path, `base` the address under which the client knows us."""

    body: bytes
    headers: Headers
    query: Mapping[str, str]
    place: Mapping[str, str]
    base: str

    def map(self) -> dict[str, Any]:
        """The body as a JSON map. Raises `BadJson`."""
        return loads_map(self.body)


Answering: TypeAlias = Callable[[Asked], object]


def router(wire: PlutoWire) -> APIRouter:
    """The routes that write; `pluto_query.router` has those that read, `pluto_files.router` those of files."""
    routes = APIRouter(include_in_schema=False)
    add(routes, "POST", "/api/slug", lambda _: {"organization": {"slug": ORGANIZATION}})
    _add_runs(routes, wire)
    _add_changes(routes, wire)
    _add_lines(routes, wire)
    return routes


def add(routes: APIRouter, method: str, path: str, answer: Answering) -> None:
    """Answer `path` with the JSON of what `answer` gives, on a thread, and what it raises in Pluto's shape."""

    async def route(request: Request) -> Response:
        asked = await _asked(request)
        return await run_in_threadpool(answered, lambda: answer(asked))

    routes.add_api_route(path, route, methods=[method], name=f"pluto {path}")


async def _asked(request: Request) -> Asked:
    return Asked(await request.body(), request.headers, request.query_params, request.path_params, base_of(request))


def base_of(request: Request) -> str:
    """The address that the client used, without a slash at its end; the guard in front has checked its host."""
    return str(request.base_url).rstrip("/")


def json(content: object, status: int = 200) -> Response:
    """`content` as JSON with bare NaN, which Pluto's clients read."""
    return Response(dumps(content), status, {"Cache-Control": "no-store"}, JSON)


def answered(answer: Callable[[], object]) -> Response:
    """What `answer` gives as JSON; what it raises in Pluto's shape."""
    try:
        return json(answer())
    except Unwanted as error:
        return json({"error": str(error)}, error.status)
    except BadJson as error:
        return json({"error": str(error)}, 422)
    except NoPermit as error:
        return json({"error": str(error)}, 403)
    except (QueueFull, NotRunning, NotStored, sqlite3.OperationalError) as error:
        return json({"error": str(error)}, 503)


def _add_runs(routes: APIRouter, wire: PlutoWire) -> None:
    fresh = FreshRuns()

    async def create(request: Request) -> Response:
        asked = await _asked(request)

        def opened(run_id: str) -> Response:
            return answered(lambda: _opened(wire.runs.create(asked.map(), run_id), asked.base))

        return await made(fresh, request, lambda: new_id("pl"), opened, wire.runs.is_deleted)

    def resume(asked: Asked) -> object:
        return _opened(wire.runs.resume(asked.map()), asked.base)

    def trigger(asked: Asked) -> object:
        return {"status": wire.runs.beat(wire.runs.find(asked.map().get("runId")))}

    routes.add_api_route("/api/runs/create", create, methods=["POST"])
    add(routes, "POST", "/api/runs/resume", resume)
    add(routes, "POST", "/api/runs/trigger", trigger)


def _add_changes(routes: APIRouter, wire: PlutoWire) -> None:
    def on(path: str, change: Callable[[Any, dict[str, Any]], None]) -> None:
        def answer(asked: Asked) -> object:
            said = asked.map()
            change(wire.runs.find(said.get("runId")), said)
            return DONE

        add(routes, "POST", f"/api/runs/{path}", answer)

    on("tags/update", lambda run, said: wire.runs.set_tags(run, said.get("tags")))
    on("config/update", lambda run, said: wire.runs.merge_config(run, said.get("config")))
    on("status/update", wire.runs.set_status)
    on("logName/add", lambda run, said: wire.runs.add_names(run, said.get("logName"), said.get("logType")))
    on("modelGraph/create", lambda run, said: wire.runs.note(run, "model", "model-graph", said.get("graph")))
    on("alert", lambda run, said: _note_alert(wire, run, _alert(said.get("alert"))))


def _add_lines(routes: APIRouter, wire: PlutoWire) -> None:
    def on(path: str, entries_of: Callable[[dict[str, Any], int], list[Entry]]) -> None:
        def answer(asked: Asked) -> object:
            run = wire.runs.find(asked.headers.get("x-run-id"))
            now_ms = wire.recorder.now_ms()
            entries = [entry for line in lines(asked.body) for entry in entries_of(line, now_ms)]
            refused = wire.recorder.write(run.view["id"], entries) if entries else []
            if refused and len(refused) == len(entries):
                raise Unwanted("; ".join(refused[:3]), 422)
            return {**DONE, "refused": refused}

        add(routes, "POST", f"/ingest/{path}", answer)

    on("metrics", metric_entries)
    on("data", lambda line, now_ms: [data_entry(line, now_ms)])
    on("logs", lambda line, now_ms: [console_entry(line, now_ms)])


def _note_alert(wire: PlutoWire, run: NumberedRun, alert: dict[str, Any]) -> None:
    wire.runs.note(run, "alert", "alert", alert, said_ms=alert["time_ms"])


def _opened(opened: Opened, base: str) -> dict[str, Any]:
    view, number = opened.run.view, opened.run.number
    return {
        "runId": number,
        "url": page_of(opened.run, base),
        "displayId": f"{DISPLAY_PREFIX}{number}",
        "resumed": opened.resumed,
        "number": number,
        "projectName": view["project"],
        "organizationSlug": ORGANIZATION,
        "forkedFromRunId": opened.forked_from,
        "forkStep": opened.fork_step,
    }


def _alert(said: object) -> dict[str, Any]:
    """An alert in our words. Raises `Unwanted`."""
    if not isinstance(said, dict):
        raise Unwanted("alert is not an object")
    found = {"title": said.get("title"), "text": said.get("body"), "level": said.get("level")}
    return {**found, **({"url": said["url"]} if said.get("url") else {}), "time_ms": said.get("timestamp")}
