"""The life of a run as Pluto's clients tell it: made, gone on with, tagged, configured, ended.

Pluto's whole-numbered run id is the run's number in the database, so every run can be asked for by it. A run that the
user named (``externalId``) has an id made of project and name: whoever names it again, on whatever rank, joins it.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.recorder import Entry, Recorder
from flashtrial.server.neighbours.runs import NumberedRun, Runs, id_from
from flashtrial.server.neighbours.wire_json import BadJson, loads_map
from flashtrial.server.run_facts import merged

DISPLAY_PREFIX = "FT-"
MAKING = "pluto.making"

TO_PLUTO = {
    RunStatus.CREATED: "RUNNING",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.FINISHED: "COMPLETED",
    RunStatus.FAILED: "FAILED",
    RunStatus.STOPPED: "CANCELLED",
    RunStatus.INTERRUPTED: "TERMINATED",
    RunStatus.LOST: "FAILED",
}
_FROM_PLUTO = {
    "RUNNING": RunStatus.RUNNING,
    "COMPLETED": RunStatus.FINISHED,
    "FAILED": RunStatus.FAILED,
    "CANCELLED": RunStatus.STOPPED,
    "TERMINATED": RunStatus.INTERRUPTED,
}
# Of several ranks that end one run, the worst word counts, whoever comes last.
_WEIGHT = {"RUNNING": 0, "COMPLETED": 1, "TERMINATED": 2, "CANCELLED": 3, "FAILED": 4}

# What a fork takes over of its parent stands in its own opening already.
_INHERITED = {"inherit_config": False, "inherit_tags": False}


class Unwanted(FlashtrialError):
    """Raised when a request cannot be followed as it is; `status` is the HTTP status that its client is told."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer to who opened a run. `forked_from` and `fork_step` say where it began, if it is a fork."""

    run: NumberedRun
    resumed: bool
    forked_from: int | None = None
    fork_step: int | None = None


class PlutoRuns:
    """Runs by Pluto's words. From any thread."""

    def __init__(self, recorder: Recorder, ledger: Ledger, runs: Runs) -> None:
        self._recorder = recorder
        self._ledger = ledger
        self._runs = runs
        self._lock = threading.Lock()  # so that one externalId makes one run

    def find(self, number: object) -> NumberedRun:
        """The run with this number, which a header or a query may give as digits. Raises `Unwanted`."""
        run = self._numbered(number)
        if run is None:
            raise Unwanted("Run not found", 404)
        return run

    def create(self, said: Mapping[str, Any], run_id: str) -> Opened:
        """A new run with this id, or the one of this project and externalId; the one that there is, where the request
        came before. Raises `Unwanted`, and as `Recorder.write` does.
        """
        project, external = _text(said, "projectName") or "default", _text(said, "externalId")
        with self._lock:
            if external is not None:
                run_id = id_from("pl", project, external)
                if self._runs.by_id(run_id) is not None:
                    return self._join(run_id, said)
                return self._make(run_id, project, said)
            if self._runs.by_id(run_id) is not None:
                return self._opened(run_id, resumed=False)
            return self._make(run_id, project, said)

    def is_deleted(self, run_id: str) -> bool:
        """Whether somebody removed a run with this id."""
        return self._runs.was_removed(run_id)

    def resume(self, said: Mapping[str, Any]) -> Opened:
        """The run that is named by number, display id, or externalId and project. Raises `Unwanted`."""
        if said.get("runId") is not None:
            run = self.find(said["runId"])
        elif said.get("displayId") is not None:
            run = self.by_display_id(str(said["displayId"]))
        else:
            run_id = id_from("pl", _text(said, "projectName") or "default", _text(said, "externalId") or "")
            run = self.find(self._runs.number_of(run_id))
        with self._lock:
            return self._join(run.view["id"], {})

    def by_display_id(self, display_id: str) -> NumberedRun:
        """The run that is shown under this name. Raises `Unwanted`."""
        prefix, _, digits = display_id.partition("-")
        return self.find(digits if f"{prefix}-" == DISPLAY_PREFIX else None)

    def set_tags(self, run: NumberedRun, tags: object) -> None:
        """Replace the run's tags. Raises `Unwanted`."""
        self._write(run.view["id"], Entry(RecordKind.TAGS, self._recorder.now_ms(), {"tags": checked_tags(tags)}))

    def merge_config(self, run: NumberedRun, config: object) -> None:
        """Put a map in JSON into the run's config, deeply. Raises `Unwanted`."""
        self._write(run.view["id"], Entry(RecordKind.CONFIG, self._recorder.now_ms(), {"set": _config(config)}))

    def set_status(self, run: NumberedRun, said: Mapping[str, Any]) -> None:
        """Move the run to a state, unless it has ended in a worse one. Raises `Unwanted`."""
        wanted = _FROM_PLUTO.get(str(said.get("status")))
        if wanted is None:
            raise Unwanted(f"status is one of {', '.join(_FROM_PLUTO)}")
        before = RunStatus(run.view["status"])
        if wanted.is_finished and before.is_finished and _WEIGHT[TO_PLUTO[before]] > _WEIGHT[TO_PLUTO[wanted]]:
            return
        reason = said.get("statusMetadata")
        body: dict[str, Any] = {"status": wanted.value}
        if isinstance(reason, str) and wanted.is_finished and wanted is not RunStatus.FINISHED:
            body["reason"] = reason
        self._write(run.view["id"], Entry(RecordKind.STATE, _time(said.get("statusUpdated"), self._recorder), body))

    def beat(self, run: NumberedRun) -> str:
        """Note a heartbeat; the run's status in Pluto's words. ``CANCELLED`` makes the client end its process."""
        self._recorder.sign_of_life(run.view["id"])
        return TO_PLUTO[RunStatus(run.view["status"])]

    def note(self, run: NumberedRun, name: str, kind: str, value: object, *, said_ms: object = None) -> None:
        """Keep something that belongs to the run as a whole: an alert, the graph of a model. Raises `Unwanted`.

        With the client's own time `said_ms`, the same said again is kept once.
        """
        body = {"name": name, "type": kind, "step": None, "value": value}
        entry = Entry(RecordKind.DATA, _time(said_ms, self._recorder), body, once=isinstance(said_ms, int))
        self._write(run.view["id"], entry)

    def add_names(self, run: NumberedRun, names: object, kind: object) -> None:
        """Remember names that will be logged, and what kind of thing each is."""
        if isinstance(names, list) and isinstance(kind, str):
            self._ledger.merge_fact(run.view["id"], "pluto.names", {str(name): kind for name in names})

    def names(self, run_id: str) -> dict[str, str]:
        """Those names, by what they are."""
        found = self._ledger.fact(run_id, "pluto.names")
        return {name: str(kind) for name, kind in found.items()} if isinstance(found, dict) else {}

    def making(self, run_id: str) -> dict[str, Any]:
        """What its maker said that no record holds; empty for a run that no Pluto client made."""
        found = self._ledger.fact(run_id, MAKING)
        return found if isinstance(found, dict) else {}

    def _make(self, run_id: str, project: str, said: Mapping[str, Any]) -> Opened:
        config, tags, parent = _config(said.get("config")), checked_tags(said.get("tags") or []), self._parent(said)
        if parent is not None:
            config = config if said.get("inheritConfig") is False else merged(parent.view["config"], config)
            tags = list(dict.fromkeys([*parent.view["tags"], *tags])) if said.get("inheritTags") else tags
        fork = {"forkedFromRunId": parent.number, "forkStep": said.get("forkStep")} if parent else {}
        kept = {name: said.get(name) for name in ("externalId", "loggerSettings", "systemMetadata")}
        self._ledger.set_fact(run_id, MAKING, {**kept, **fork})
        body: dict[str, Any] = {"status": "running", "project": project, "config": config, "tags": tags}
        if name := _text(said, "runName"):
            body["name"] = name
        if parent is not None:
            step = said.get("forkStep")
            body["fork"] = {"run_id": parent.view["id"], "step": step if isinstance(step, int) else None} | _INHERITED
        self._write(
            run_id,
            Entry(RecordKind.STATE, _time(said.get("createdAt"), self._recorder), body),
        )
        return self._opened(run_id, resumed=False)

    def _join(self, run_id: str, said: Mapping[str, Any]) -> Opened:
        now_ms = self._recorder.now_ms()
        entries = [Entry(RecordKind.STATE, now_ms, {"status": "running"})]
        if config := _config(said.get("config")):
            entries.append(Entry(RecordKind.CONFIG, now_ms, {"set": config}))
        self._write(run_id, *entries)
        return self._opened(run_id, resumed=True)

    def _opened(self, run_id: str, *, resumed: bool) -> Opened:
        number = self._runs.number_of(run_id)
        run = None if number is None else self._runs.by_number(number)
        if run is None:
            raise Unwanted("the run could not be made", 500)
        making = self.making(run_id)
        return Opened(run, resumed, making.get("forkedFromRunId"), making.get("forkStep"))

    def _parent(self, said: Mapping[str, Any]) -> NumberedRun | None:
        if said.get("forkRunId") is None:
            return None
        parent = self._numbered(said["forkRunId"])
        if parent is None:
            raise Unwanted("Parent run not found", 404)
        return parent

    def _numbered(self, said: object) -> NumberedRun | None:
        digits = str(said)
        return self._runs.by_number(int(digits)) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None

    def _write(self, run_id: str, *entries: Entry) -> None:
        if refused := self._recorder.write(run_id, entries):
            raise Unwanted("; ".join(refused))


def checked_tags(tags: object) -> list[str]:
    """The tags in a request. Raises `Unwanted`, in Pluto's words where those are known."""
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Unwanted("tags is not a list of texts")
    if sum(tag.startswith("group:") for tag in tags) > 1:
        raise Unwanted("A run can have at most one group:* tag.")
    return tags


def _config(said: object) -> dict[str, Any]:
    if said is None or said == "":
        return {}
    if not isinstance(said, str):
        raise Unwanted("config is a JSON text or null")
    try:
        return loads_map(said) if said != "null" else {}
    except BadJson as error:
        raise Unwanted(f"config: {error}") from error


def _text(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) and value else None


def _time(said: object, recorder: Recorder) -> int:
    return int(said) if isinstance(said, int | float) and 0 <= said < 2**62 else recorder.now_ms()
