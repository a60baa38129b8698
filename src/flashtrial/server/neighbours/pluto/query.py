"""What ``pluto.query`` asks: projects, runs, points, statistics, console lines, as Pluto shows them. Reads only."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flashtrial.core.clock import utc_from_ms
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.neighbours.pluto.filter import BadFilter, in_order, matches
from flashtrial.server.neighbours.pluto.runs import DISPLAY_PREFIX, TO_PLUTO, PlutoRuns, Unwanted
from flashtrial.server.neighbours.runs import NumberedRun, Runs
from flashtrial.server.neighbours.wire_json import BadJson, loads_map
from flashtrial.server.storage.columns import Float64

MAX_LISTED = 200
MAX_NAMES = 500
MAX_POINTS = 10_000
_LEVELS = {"stdout": "INFO", "stderr": "ERROR"}


class PlutoQuery:
    """Answers from the database, whoever wrote the runs. From any thread."""

    def __init__(self, runs: Runs, pluto: PlutoRuns) -> None:
        self._runs = runs
        self._pluto = pluto

    def projects(self) -> list[dict[str, Any]]:
        return [
            {"id": number, "name": name, "runCount": count, "createdAt": _iso(first), "updatedAt": _iso(last)}
            for number, (name, count, first, last) in enumerate(self._runs.projects(), 1)
        ]

    def listed(self, asked: Mapping[str, str], base: str) -> list[Mapping[str, Any]]:
        """The runs that a query string asks for. Raises `Unwanted`."""
        shown = [self.shown(run, base) for run in self._runs.of_project(asked.get("projectName"))]
        shown = [run for run in shown if _is_wanted(run, asked)]
        try:
            terms = loads_map(asked.get("filter"))
            found = in_order([run for run in shown if not terms or matches(run, terms)], asked.get("sort"))
        except (BadFilter, BadJson, TypeError) as error:
            raise Unwanted(str(error)) from error
        offset = _whole(asked, "offset", 0)
        return found[offset : offset + min(_whole(asked, "limit", 50), MAX_LISTED)]

    def details(self, run: NumberedRun, base: str) -> dict[str, Any]:
        run_id = run.view["id"]
        making = self._pluto.making(run_id)
        names = self._pluto.names(run_id) | dict.fromkeys(self._runs.names(run_id), "METRIC")
        return {
            **self.shown(run, base),
            "logNames": [{"logName": name, "logType": kind} for name, kind in sorted(names.items())],
            "systemMetadata": _map(making.get("systemMetadata")),
            "loggerSettings": _map(making.get("loggerSettings")),
            "externalId": making.get("externalId"),
            "forkedFromRunId": making.get("forkedFromRunId"),
            "forkStep": making.get("forkStep"),
        }

    def shown(self, run: NumberedRun, base: str) -> dict[str, Any]:
        view = run.view
        return {
            "id": run.number,
            "number": run.number,
            "displayId": f"{DISPLAY_PREFIX}{run.number}",
            "name": view["name"],
            "projectName": view["project"],
            "status": TO_PLUTO[RunStatus(view["status"])],
            "tags": view["tags"],
            "config": view["config"],
            "summaryMetrics": {name: float(value) for name, value in view["summary"].items()},
            "createdAt": _iso(view["created_ms"]),
            "updatedAt": _iso(view["updated_ms"]),
            "url": page_of(run, base),
        }

    def metric_names(self, asked: Mapping[str, str]) -> list[str]:
        """The names of series in a project, or in some runs of it. Raises `Unwanted`."""
        wanted = _numbers(asked.get("runIds"))
        runs = self._runs.of_project(asked.get("projectName"))
        names = {
            name for run in runs if not wanted or run.number in wanted for name in self._runs.names(run.view["id"])
        }
        found = sorted(name for name in names if asked.get("search", "") in name)
        return found[: min(_whole(asked, "limit", MAX_NAMES), MAX_NAMES)]

    def metrics(self, run: NumberedRun, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """The points of one series or of all of the run. Raises `Unwanted`."""
        names = [asked["logName"]] if "logName" in asked else self._runs.names(run.view["id"])
        limit = min(_whole(asked, "limit", MAX_POINTS), MAX_POINTS)
        start = _whole(asked, "stepMin", 0) if "stepMin" in asked else None
        end = _whole(asked, "stepMax", 0) if "stepMax" in asked else None
        return [
            {"metric": name, "step": step, "value": value, "time": _iso(time_ms)}
            for name in names
            for step, time_ms, value in self._runs.points(run.view["id"], name, start=start, end=end, limit=limit)
        ]

    def statistics(self, run: NumberedRun, names: Iterable[str] | None) -> dict[str, Any]:
        wanted = self._runs.names(run.view["id"]) if names is None else names
        found = ((name, self._runs.values(run.view["id"], name)) for name in wanted)
        return {"runId": run.number, "statistics": [{"metric": name, **_figures(values)} for name, values in found]}

    def compared(self, runs: Sequence[NumberedRun], name: str) -> dict[str, Any]:
        """The figures of one series in several runs; ``bestRun`` has the lowest last value."""
        rows = [
            {
                "runId": run.number,
                "displayId": f"{DISPLAY_PREFIX}{run.number}",
                "name": run.view["name"],
                **_figures(self._runs.values(run.view["id"], name)),
            }
            for run in runs
        ]
        ended = [row for row in rows if row["count"] and not math.isnan(row["last"])]
        best = min(ended, key=lambda row: row["last"]) if ended else None
        return {"logName": name, "runs": rows, "bestRun": best}

    def leaderboard(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """Runs of a project by a figure of one series. Raises `Unwanted`."""
        figure = _AGGREGATIONS.get(asked.get("aggregation", "LAST").upper())
        name = asked.get("logName")
        if figure is None or name is None:
            raise Unwanted(f"leaderboard needs logName, and aggregation is one of {', '.join(_AGGREGATIONS)}")
        rows = [
            {"id": run.number, "name": run.view["name"], "displayId": f"{DISPLAY_PREFIX}{run.number}", "value": value}
            for run in self._runs.of_project(asked.get("projectName"))
            if name in run.view["summary"]
            and (value := _figures(self._runs.values(run.view["id"], name))[figure]) is not None
            and not math.isnan(value)
        ]
        rows.sort(key=lambda row: float(str(row["value"])), reverse=asked.get("direction", "ASC").upper() == "DESC")
        offset = _whole(asked, "offset", 0)
        return rows[offset : offset + min(_whole(asked, "limit", 50), 100)]

    def logs(self, run: NumberedRun, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """Printed lines. Raises `Unwanted`."""
        level = asked.get("logType", "").upper()
        lines = [
            {
                "message": line["text"],
                "logType": _LEVELS.get(line["stream"], "INFO"),
                "time": _iso(line["time_ms"]),
                "lineNumber": line["line"],
                "step": None,
            }
            for line in self._runs.console(run.view["id"])
        ]
        found = [line for line in lines if level in ("", line["logType"])]
        offset = _whole(asked, "offset", 0)
        return found[offset : offset + min(_whole(asked, "limit", MAX_POINTS), MAX_POINTS)]


_AGGREGATIONS = {"MIN": "min", "MAX": "max", "AVG": "mean", "LAST": "last", "VARIANCE": "variance"}


def page_of(run: NumberedRun, base: str) -> str:
    """The address of the run's page."""
    return f"{base}/runs/{run.view['id']}"


def _figures(values: Float64) -> dict[str, Any]:
    """The figures of a series over its finite values; those of numbers too large to be summed are infinite or NaN."""
    finite = values[np.isfinite(values)]
    found: dict[str, Any] = dict.fromkeys(("min", "max", "mean", "stddev", "variance"))
    if len(finite):
        with np.errstate(over="ignore", invalid="ignore"):
            variance = float(np.var(finite))
            found = {
                "min": float(finite.min()),
                "max": float(finite.max()),
                "mean": float(np.mean(finite)),
                "stddev": math.sqrt(variance),
                "variance": variance,
            }
    return {"count": len(values), "last": float(values[-1]) if len(values) else None, **found}


def _is_wanted(run: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    tags = [tag for tag in asked.get("tags", "").split(",") if tag]
    return asked.get("search", "").lower() in run["name"].lower() and set(tags) <= set(run["tags"])


def _iso(time_ms: int) -> str:
    return utc_from_ms(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _map(said: object) -> dict[str, Any]:
    try:
        return loads_map(said) if isinstance(said, str) else {}
    except BadJson:
        return {}


def _whole(asked: Mapping[str, str], name: str, default: int) -> int:
    value = asked.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Unwanted(f"{name} is not a whole number from 0 on")
    return int(value)


def _numbers(listed: str | None) -> set[int]:
    return {int(each) for each in (listed or "").split(",") if each.isascii() and each.isdigit() and len(each) < 19}
