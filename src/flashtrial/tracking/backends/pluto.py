"""A Pluto server as a destination, over its wire contract. Our run id is its ``externalId``.

A point said twice is one there, by run, name and step; so are tags, config and state. Console lines, data and files of
a request whose answer was lost are doubled by Pluto's own server, and by flashtrial's Pluto routes are not.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from flashtrial.core import env
from flashtrial.protocol.records import Record, RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.backends.base import Outage, RefusedRecord, WriterNotice
from flashtrial.tracking.backends.pluto_lines import (
    TO_PLUTO,
    NotForPluto,
    alert_words,
    console_line,
    data_line,
    file_words,
    metric_line,
)
from flashtrial.tracking.backends.pluto_rest import PlutoRest, PlutoRun
from flashtrial.tracking.backends.record_backend import RecordBackend
from flashtrial.tracking.backends.rest import RefusedRequest
from flashtrial.tracking.backends.run_book import RunBook
from flashtrial.tracking.journal.facts import Role
from flashtrial.tracking.media.staging import staged_path

DEFAULT_PROJECT = "default"
ALERT = "alert"

_LINES: Mapping[RecordKind, tuple[str, Callable[[Record], dict[str, Any]]]] = {
    RecordKind.METRIC: ("metrics", metric_line),
    RecordKind.SYSTEM: ("metrics", metric_line),
    RecordKind.CONSOLE: ("logs", console_line),
    RecordKind.DATA: ("data", data_line),
}


def open_backend(home: Path, environment: Mapping[str, str]) -> "PlutoBackend":
    """The backend for the server that Pluto's variables name. Raises `Outage` without a key."""
    outbox = Path(environment.get(env.OUTBOX) or home / "outbox").expanduser().absolute()
    return PlutoBackend(PlutoRest.from_environment(environment), outbox, home / "destinations" / "pluto")


@dataclass(slots=True)
class _Run:
    """What is known of a run at the server. `ended_ms` is when it ended, by its records' times; 0 while it runs."""

    at: PlutoRun
    tags: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    ended_ms: int = 0

    def entry(self) -> dict[str, Any]:
        return {
            "number": self.at.number,
            "name": self.at.name,
            "project": self.at.project,
            "tags": self.tags,
            "ended_ms": self.ended_ms,
        }


class PlutoBackend(RecordBackend):
    """See `Backend` and `PulseBackend`. `book` is the folder that remembers which run is which."""

    name = "pluto"

    def __init__(self, rest: PlutoRest, outbox: Path, book: Path) -> None:
        super().__init__()
        self._rest = rest
        self._outbox = outbox
        self._book = RunBook(book, rest.url)
        self._runs: dict[str, _Run] = {}

    def deliver(self, run_id: str, records: Sequence[Record]) -> list[RefusedRecord]:
        """See `RecordBackend`. Neighbours that go to the same place share requests; the order stays."""
        run = self._run(run_id, records)
        refused: list[RefusedRecord] = []
        for place, group in groupby(records, key=_place):
            some = list(group)
            refused += self._lines(run, place, some) if place else self._each(run, some)
        self._book.put(run_id, run.entry())
        return refused

    def beat(self, notices: Sequence[WriterNotice], every_s: float) -> bool:
        """Heartbeats of the runs that live; an end for those whose owner died without a word. See `PulseBackend`."""
        del every_s
        for notice in notices:
            run = self._known(notice.run_id)
            if run is None or run.ended_ms:
                continue
            if notice.is_alive:
                self._rest.beat(run.at)
            elif not notice.ended and notice.role is Role.OWNER:
                self._end(run, RunStatus.INTERRUPTED, 1, notice.reason)
                self._book.put(notice.run_id, run.entry())
        return True

    def close(self) -> None:
        self._rest.close()

    def _run(self, run_id: str, records: Sequence[Record]) -> _Run:
        found = self._known(run_id)
        if found is None:
            found = self._runs[run_id] = self._made(run_id, records)
        return found

    def _known(self, run_id: str) -> _Run | None:
        if run_id not in self._runs and (entry := self._book.get(run_id)) is not None:
            at = PlutoRun(int(entry["number"]), str(entry["name"]), str(entry["project"]))
            self._runs[run_id] = _Run(at, list(entry["tags"]), ended_ms=int(entry["ended_ms"]))
        return self._runs.get(run_id)

    def _made(self, run_id: str, records: Sequence[Record]) -> _Run:
        opening: Mapping[str, Any] = next((each.body for each in records if each.kind is RecordKind.STATE), {})
        tags = list(opening.get("tags") or [])
        said = {
            "runName": str(opening.get("name") or run_id),
            "projectName": str(opening.get("project") or DEFAULT_PROJECT),
            "externalId": run_id,
            "config": json.dumps(opening.get("config") or {}),
            "loggerSettings": "{}",
            "systemMetadata": json.dumps({"hostname": opening.get("host")}),
            "tags": tags or None,
            "createdAt": records[0].time_ms,
            "updatedAt": None,
        }
        try:
            run = _Run(self._rest.create(said), tags)
        except RefusedRequest as refused:
            raise Outage(str(refused)) from refused
        self._book.put(run_id, run.entry())
        return run

    def _lines(self, run: _Run, place: str, records: Sequence[Record]) -> list[RefusedRecord]:
        """Halves a request that is refused until the record to blame stands alone."""
        lines: list[dict[str, Any]] = []
        kept: list[Record] = []
        refused: list[RefusedRecord] = []
        for record in records:
            try:
                lines.append(_LINES[record.kind][1](record))
                kept.append(record)
            except NotForPluto as error:
                refused.append(RefusedRecord(record.seq, str(error)))
        return refused + (self._sent(run, place, kept, lines) if kept else [])

    def _sent(
        self, run: _Run, place: str, records: Sequence[Record], lines: Sequence[Mapping[str, Any]]
    ) -> list[RefusedRecord]:
        try:
            self._announce(run, place, lines)
            self._rest.lines(run.at, place, lines)
        except RefusedRequest as refused:
            if len(records) == 1:
                return [RefusedRecord(records[0].seq, str(refused))]
            middle = len(records) // 2
            first = self._sent(run, place, records[:middle], lines[:middle])
            return first + self._sent(run, place, records[middle:], lines[middle:])
        return []

    def _announce(self, run: _Run, place: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Pluto's pages list only the names that were announced."""
        if place == "logs":
            return
        names: dict[str, dict[str, None]] = {}
        for line in lines:
            kind = "METRIC" if place == "metrics" else _announced(str(line["dataType"]))
            for name in line["data"] if place == "metrics" else (line["logName"],):
                if name not in run.names:
                    names.setdefault(kind, {})[name] = None
        for kind, new in names.items():
            self._rest.change(run.at, "logName/add", {"logType": kind, "logName": list(new)})
            run.names.update(new)

    def _each(self, run: _Run, records: Sequence[Record]) -> list[RefusedRecord]:
        refused: list[RefusedRecord] = []
        for record in records:
            try:
                self._alone(run, record)
            except RefusedRequest as error:
                refused.append(RefusedRecord(record.seq, str(error)))
            except FileNotFoundError:
                refused.append(RefusedRecord(record.seq, "the file's bytes are not there any more"))
        return refused

    def _alone(self, run: _Run, record: Record) -> None:
        match record.kind:
            case RecordKind.STATE:
                self._move(run, record)
            case RecordKind.CONFIG:
                self._rest.change(run.at, "config/update", {"config": json.dumps(record.body["set"])})
            case RecordKind.TAGS:
                tags = _retagged(run.tags, record.body)
                self._rest.change(run.at, "tags/update", {"tags": tags})
                run.tags = tags  # only what was taken: a refused tag would have every later change refused
            case RecordKind.FILE:
                self._put_file(run, record)
            case _:
                self._rest.alert(run.at, alert_words(record))

    def _move(self, run: _Run, record: Record) -> None:
        """States of several writers count by their times: who joins late never opens a run that has ended."""
        status = RunStatus(record.body["status"])
        if record.body.get("guest") and status is not RunStatus.FAILED:
            return
        if status.is_finished:
            self._end(run, status, record.time_ms, record.body.get("reason"))
        elif record.time_ms > run.ended_ms > 0:
            self._rest.change(run.at, "status/update", {"status": "RUNNING", "statusMetadata": None})
            run.ended_ms = 0

    def _end(self, run: _Run, status: RunStatus, time_ms: int, reason: str | None) -> None:
        said = {"status": TO_PLUTO[status], "statusMetadata": reason and json.dumps(reason), "statusUpdated": None}
        self._rest.change(run.at, "status/update", said)
        run.ended_ms = time_ms

    def _put_file(self, run: _Run, record: Record) -> None:
        path = staged_path(self._outbox, record.body)
        if path is None:
            raise RefusedRequest("the record names no staged file", 400)
        name, kind = str(record.body["name"]), str(record.body.get("type", "file")).upper()
        if name not in run.names:
            self._rest.change(run.at, "logName/add", {"logType": kind, "logName": [name]})
            run.names.add(name)
        mime = str(record.body.get("mime", "application/octet-stream"))
        self._rest.put_file(run.at, file_words(record), path, mime)


def _place(record: Record) -> str:
    """Where a record's line goes; empty for one that is a request of its own."""
    if record.kind is RecordKind.DATA and record.body.get("type") == ALERT:
        return ""
    return _LINES[record.kind][0] if record.kind in _LINES else ""


def _announced(data_type: str) -> str:
    return data_type if data_type in ("TABLE", "HISTOGRAM", "GRAPH") else "DATA"


def _retagged(tags: Sequence[str], body: Mapping[str, Any]) -> list[str]:
    if "add" not in body and "remove" not in body:
        return list(body["tags"])
    gone = body.get("remove", ())
    return [tag for tag in dict.fromkeys([*tags, *body.get("add", ())]) if tag not in gone]
