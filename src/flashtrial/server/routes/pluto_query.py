"""``GET /api/runs/…`` of the Pluto wire contract: what ``pluto.query`` asks."""

from fastapi import APIRouter

from flashtrial.server.neighbours.pluto.runs import Unwanted
from flashtrial.server.neighbours.pluto.wire import PlutoWire
from flashtrial.server.neighbours.runs import NumberedRun
from flashtrial.server.routes.pluto import Asked, add

MAX_COMPARED = 100


def router(wire: PlutoWire) -> APIRouter:
    """The routes; all of them read only."""
    routes = APIRouter(include_in_schema=False)
    query = wire.query

    def run_of(asked: Asked) -> NumberedRun:
        return wire.runs.find(asked.query.get("runId"))

    add(routes, "GET", "/api/runs/projects", lambda _: {"projects": query.projects()})
    add(routes, "GET", "/api/runs/list", lambda asked: {"runs": query.listed(asked.query, asked.base)})
    add(routes, "GET", "/api/runs/metric-names", lambda asked: {"metricNames": query.metric_names(asked.query)})
    add(routes, "GET", "/api/runs/metrics", lambda asked: {"metrics": query.metrics(run_of(asked), asked.query)})
    add(routes, "GET", "/api/runs/logs", lambda asked: {"logs": query.logs(run_of(asked), asked.query)})
    add(routes, "GET", "/api/runs/leaderboard", lambda asked: query.leaderboard(asked.query))
    add(routes, "GET", "/api/runs/files", lambda asked: {"files": _files(wire, run_of(asked), asked)})
    add(routes, "GET", "/api/runs/statistics", lambda asked: query.statistics(run_of(asked), _names(asked)))
    add(routes, "GET", "/api/runs/compare", lambda asked: _compared(wire, asked))
    _add_details(routes, wire)
    return routes


def _add_details(routes: APIRouter, wire: PlutoWire) -> None:
    def by_number(asked: Asked) -> object:
        return wire.query.details(wire.runs.find(asked.place["number"]), asked.base)

    def by_display_id(asked: Asked) -> object:
        return wire.query.details(wire.runs.by_display_id(asked.place["display_id"]), asked.base)

    add(routes, "GET", "/api/runs/details/by-display-id/{display_id}", by_display_id)
    add(routes, "GET", "/api/runs/details/{number}", by_number)


def _files(wire: PlutoWire, run: NumberedRun, asked: Asked) -> object:
    return wire.files.listed(run, asked.query.get("logName"), asked.base)


def _names(asked: Asked) -> list[str] | None:
    return [asked.query["logName"]] if "logName" in asked.query else None


def _compared(wire: PlutoWire, asked: Asked) -> object:
    name = asked.query.get("logName")
    if name is None:
        raise Unwanted("compare needs logName")
    numbers = [number for number in asked.query.get("runIds", "").split(",") if number][:MAX_COMPARED]
    return wire.query.compared([wire.runs.find(number) for number in numbers], name)
