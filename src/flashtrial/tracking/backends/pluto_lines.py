"""Our records as lines of the Pluto wire contract. Pure."""

import json
import re
from pathlib import PurePath
from typing import Any

from flashtrial.protocol.records import Record, RecordKind
from flashtrial.protocol.trials import RunStatus

TO_PLUTO = {
    RunStatus.CREATED: "RUNNING",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.FINISHED: "COMPLETED",
    RunStatus.FAILED: "FAILED",
    RunStatus.STOPPED: "CANCELLED",
    RunStatus.INTERRUPTED: "TERMINATED",
    RunStatus.LOST: "FAILED",
}
# What Pluto's own client writes out in the names of the machine's figures, as whole words.
_ABBREVIATIONS = {
    "pct": "percentage",
    "net": "network",
    "mem": "memory",
    "recv": "received",
    "bytes_": "bytes.",
}
_ABBREVIATED = re.compile(r"\b(" + "|".join(map(re.escape, _ABBREVIATIONS)) + r")\b")
_DATA_TYPES = {"string": "string-series", "table": "TABLE", "histogram": "HISTOGRAM", "graph": "GRAPH"}
_LEVELS = {"stdout": "INFO", "stderr": "ERROR"}
STRINGS = "string-series"


class NotForPluto(ValueError):
    """Raised when Pluto has no way to say what a record says; the message says why."""


def metric_line(record: Record) -> dict[str, Any]:
    """The values of a metric or system record. Raises `NotForPluto` for a negative step."""
    step = record.body.get("step")
    step = record.seq if step is None else step
    if step < 0:
        raise NotForPluto("Pluto has no steps below 0")
    values = record.body["values"]
    if record.kind is RecordKind.SYSTEM:
        values = {system_name(name): value for name, value in values.items()}
    return {"time": record.time_ms, "step": step, "data": dict(values)}


def system_name(name: str) -> str:
    """A figure's name below ``sys/``, abbreviations written out."""
    expanded = _ABBREVIATED.sub(lambda match: _ABBREVIATIONS[match.group()], name)
    return expanded if expanded.startswith("sys/") else f"sys/{expanded}"


def data_line(record: Record) -> dict[str, Any]:
    """A table, a histogram, a graph, a text. Raises `NotForPluto` for a negative step."""
    step = record.body.get("step") or 0
    if step < 0:
        raise NotForPluto("Pluto has no steps below 0")
    kind = _DATA_TYPES.get(record.body["type"], str(record.body["type"]).upper())
    value = record.body.get("value")
    data = value if kind == STRINGS and isinstance(value, str) else json.dumps(value)
    return {"time": record.time_ms, "data": data, "dataType": kind, "logName": record.body["name"], "step": step}


def console_line(record: Record) -> dict[str, Any]:
    """One printed line."""
    body = record.body
    return {
        "time": record.time_ms,
        "message": body["text"],
        "lineNumber": max(int(body.get("line", record.seq)), 1),
        "logType": _LEVELS.get(body["stream"], "INFO"),
    }


def file_words(record: Record) -> dict[str, Any]:
    """What Pluto is told of a file before its bytes. The record's own number keeps file names apart."""
    body = record.body
    name = PurePath(str(body.get("file_name") or "file"))
    words = {
        "fileName": f"{name.stem}-{record.writer_id[-6:]}-{record.seq}{name.suffix}",
        "fileSize": body["size"],
        "fileType": "mask" if body.get("type") == "mask" else name.suffix.lstrip("."),
        "time": record.time_ms,
        "logName": body["name"],
        "step": max(body.get("step") or 0, 0),
        "sampleIndex": body.get("index") or 0,
    }
    if isinstance(body.get("caption"), str):
        words["caption"] = body["caption"]
    if (annotations := (body.get("meta") or {}).get("annotations")) is not None:
        words["annotations"] = json.dumps(annotations)
    return words


def alert_words(record: Record) -> dict[str, Any]:
    """An alert as Pluto has it."""
    value = record.body["value"]
    return {
        "timestamp": record.time_ms,
        "level": value.get("level"),
        "title": value.get("title"),
        "body": value.get("text"),
        "email": False,
        "url": value.get("url"),
    }
