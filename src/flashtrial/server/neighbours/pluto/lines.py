"""What a Pluto client logs, line by line, as our records. Pure.

Pluto knows a line by nothing but its content, so a line sent again is the same line: `Entry.once`.
"""

import math
from collections.abc import Mapping
from typing import Any

from flashtrial.protocol.records import RecordKind
from flashtrial.server.neighbours.recorder import Entry
from flashtrial.server.neighbours.wire_json import BadJson, loads
from flashtrial.server.records import MAX_INT64

SYSTEM_PREFIX = "sys/"
_STREAMS = {"ERROR": "stderr"}
# Pluto's words for the types of data that we have words of our own for.
_TYPES = {"string-series": "string", "TABLE": "table", "HISTOGRAM": "histogram", "GRAPH": "graph"}


def metric_entries(line: Mapping[str, Any], now_ms: int) -> list[Entry]:
    """The values of one line, the machine's figures apart from the user's. Values that are null are none.

    Raises `BadJson` for a line of another shape.
    """
    values = _map(line, "data")
    step = _step(line)
    system = {name: value for name, value in values.items() if name.startswith(SYSTEM_PREFIX) and value is not None}
    own = {name: value for name, value in values.items() if name not in system and value is not None}
    time_ms = _time(line, now_ms)
    found = ((RecordKind.METRIC, own), (RecordKind.SYSTEM, system))
    return [Entry(kind, time_ms, {"step": step, "values": each}, once=True) for kind, each in found if each]


def data_entry(line: Mapping[str, Any], now_ms: int) -> Entry:
    """A table, histogram, graph, or one value of a string series. Raises `BadJson`."""
    kind, data = line.get("dataType"), line.get("data")
    if not isinstance(kind, str) or not isinstance(data, str):
        raise BadJson("dataType and data are texts")
    value = data if kind == "string-series" else loads(data)
    body = {"name": line.get("logName"), "type": _TYPES.get(kind, kind.lower()), "step": _step(line), "value": value}
    return Entry(RecordKind.DATA, _time(line, now_ms), body, once=True)


def console_entry(line: Mapping[str, Any], now_ms: int) -> Entry:
    """One printed line."""
    body = {
        "stream": _STREAMS.get(str(line.get("logType")), "stdout"),
        "line": line.get("lineNumber", 1),
        "text": line.get("message", ""),
    }
    return Entry(RecordKind.CONSOLE, _time(line, now_ms), body, once=True)


def _map(line: Mapping[str, Any], what: str) -> dict[str, Any]:
    value = line.get(what)
    if not isinstance(value, dict):
        raise BadJson(f"{what} is not an object")
    return value


def _step(line: Mapping[str, Any]) -> int:
    step = line.get("step") or 0
    if isinstance(step, float) and math.isfinite(step):
        step = int(step)
    if not isinstance(step, int) or not 0 <= step <= MAX_INT64:
        raise BadJson("step is not a whole number from 0 on")
    return step


def _time(line: Mapping[str, Any], now_ms: int) -> int:
    time_ms = line.get("time")
    return int(time_ms) if isinstance(time_ms, int | float) and 0 <= time_ms < 2**62 else now_ms
