"""One of our runs as exactly one run of an MLflow server: what each kind of record becomes there."""

import json
import mimetypes
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flashtrial.protocol.mlflow_params import params_of
from flashtrial.protocol.records import Record, RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.backends.base import RefusedRecord
from flashtrial.tracking.backends.mlflow_names import mlflow_name, unreserved_name
from flashtrial.tracking.backends.mlflow_rest import (
    MAX_PARAM_CHARS,
    MAX_TAG_CHARS,
    MISSING,
    Metric,
    MlflowRest,
)
from flashtrial.tracking.backends.rest import RefusedRequest
from flashtrial.tracking.media.staging import staged_path

OWN_TAG = "flashtrial."
MLFLOW_TAG = "mlflow."
CONFIG_TAG = "flashtrial.config."
CUT_TAG = "flashtrial.cut."
REASON_TAG = "flashtrial.reason"
TAG_VALUE = "true"
SYSTEM_PREFIX = "system/"

TO_MLFLOW = {
    RunStatus.CREATED: "RUNNING",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.FINISHED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.STOPPED: "KILLED",
    RunStatus.INTERRUPTED: "KILLED",
    RunStatus.LOST: "FAILED",
}


@dataclass(slots=True)
class MlflowRun:
    """A run that exists at the server `rest`. `moved_ms` is when its state was last changed, by its records' times."""

    rest: MlflowRest
    outbox: Path
    id: str
    artifact_uri: str
    params: dict[str, str] = field(default_factory=dict)
    moved_ms: int = 0

    @classmethod
    def shown(cls, rest: MlflowRest, outbox: Path, run: Mapping[str, Any]) -> "MlflowRun":
        """The run that the server shows."""
        info, data = run["info"], run.get("data", {})
        params = {item["key"]: item.get("value", "") for item in data.get("params", [])}
        return cls(rest, outbox, info["run_id"], info["artifact_uri"], params, int(info.get("end_time") or 0))

    def take(self, records: Sequence[Record]) -> list[RefusedRecord]:
        """Bring records, in order, and values of metrics many at once. Raises `Outage`, and `RunGone`."""
        refused: list[RefusedRecord] = []
        numbers: list[Record] = []
        for record in records:
            if record.kind in (RecordKind.METRIC, RecordKind.SYSTEM):
                numbers.append(record)
                continue
            refused += self._log_numbers(numbers)
            numbers = []
            refused += self._alone(record)
        return refused + self._log_numbers(numbers)

    def end(self, status: RunStatus, end_ms: int, reason: str | None) -> None:
        """Move the run to a final state. Raises `Outage` and `RefusedRequest`."""
        if reason:
            self.rest.log(self.id, tags={REASON_TAG: _cut(reason, MAX_TAG_CHARS)})
        self.rest.update_run(self.id, TO_MLFLOW[status], end_ms)
        self.moved_ms = max(self.moved_ms, end_ms)

    def _log_numbers(self, records: Sequence[Record]) -> list[RefusedRecord]:
        """Halves a request that is refused until the record to blame stands alone."""
        metrics = [metric for record in records for metric in metrics_of(record)]
        if not metrics:
            return []
        try:
            self.rest.log(self.id, metrics=metrics)
        except RefusedRequest as refused:
            _check_gone(refused)
            if len(records) == 1:
                return [RefusedRecord(records[0].seq, str(refused))]
            middle = len(records) // 2
            return self._log_numbers(records[:middle]) + self._log_numbers(records[middle:])
        return []

    def _alone(self, record: Record) -> list[RefusedRecord]:
        act: Callable[[Record], None] | None = _ACTS.get(record.kind)
        if act is None:
            return []  # console lines have no place at MLflow
        try:
            act(self, record)  # type: ignore[call-arg,arg-type]
        except RefusedRequest as refused:
            _check_gone(refused)
            return [RefusedRecord(record.seq, str(refused))]
        except FileNotFoundError:
            return [RefusedRecord(record.seq, "the file's bytes are not there any more")]
        return []

    def _move(self, record: Record) -> None:
        """States of several writers count by their times: who joins late never opens a run that has ended."""
        body = record.body
        status = RunStatus(body["status"])
        if body.get("config"):
            self._set_params(body["config"])
        if body.get("tags"):
            self._set_tags(body["tags"], ())
        if body.get("guest") and status is not RunStatus.FAILED:
            return
        if status.is_finished:
            self.end(status, record.time_ms, body.get("reason"))
        elif record.time_ms > self.moved_ms > 0:
            self.rest.update_run(self.id, TO_MLFLOW[status], None)
            self.moved_ms = record.time_ms

    def _configure(self, record: Record) -> None:
        self._set_params(record.body["set"])

    def _retag(self, record: Record) -> None:
        body = record.body
        if "add" in body or "remove" in body:
            self._set_tags(body.get("add", ()), body.get("remove", ()))
        else:
            self._set_tags(body["tags"], ())

    def _set_tags(self, add: Sequence[str], remove: Sequence[str]) -> None:
        self.rest.log(self.id, tags={tag_name(tag): TAG_VALUE for tag in add if tag})
        for tag in remove:
            if tag not in add:
                self.rest.delete_tag(self.id, tag_name(tag))

    def _set_params(self, config: Mapping[str, Any]) -> None:
        """A parameter is written once at MLflow: what a config has changed since stands in a tag.

        So does it that a value is longer than MLflow takes, and was cut.
        """
        new: dict[str, str] = {}
        tags: dict[str, str] = {}
        for key, value in params_of(config).items():
            name, kept = mlflow_name(key), value[:MAX_PARAM_CHARS]
            before = self.params.get(name)
            if before == kept:
                continue
            if before is None:
                new[name] = kept
            else:
                tags[mlflow_name(f"{CONFIG_TAG}{key}")] = kept
            if len(value) > len(kept):
                tags[mlflow_name(f"{CUT_TAG}{key}")] = (
                    f"{len(value)} characters, of which the first {len(kept)} are kept"
                )
        self.rest.log(self.id, params=new, tags=tags)
        self.params.update(new)

    def _put_file(self, record: Record) -> None:
        path = staged_path(self.outbox, record.body)
        if path is None:
            raise RefusedRequest("the record names no staged file", 400)
        mime = str(record.body.get("mime", "application/octet-stream"))
        self.rest.put_artifact(self.artifact_uri, artifact_path(record.body), path, mime)

    def _put_data(self, record: Record) -> None:
        """Tables and the like, and texts, as one JSON file each."""
        step = record.body.get("step")
        name = f"{mlflow_name(record.body['name'])}/{'' if step is None else f'step_{step}_'}{record.seq}.json"
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(dict(record.body), file)
            file.flush()
            self.rest.put_artifact(self.artifact_uri, f"data/{name}", Path(file.name), "application/json")


_ACTS: Mapping[RecordKind, Any] = {
    RecordKind.STATE: MlflowRun._move,  # noqa: SLF001 - the class's own table
    RecordKind.CONFIG: MlflowRun._configure,  # noqa: SLF001
    RecordKind.TAGS: MlflowRun._retag,  # noqa: SLF001
    RecordKind.FILE: MlflowRun._put_file,  # noqa: SLF001
    RecordKind.DATA: MlflowRun._put_data,  # noqa: SLF001
}


class RunGone(Exception):
    """Raised when the run that records go to is not at the server any more."""


def metrics_of(record: Record) -> list[Metric]:
    """The values of a metric or system record; without a step of its own it stands at its sequence number."""
    step = record.body.get("step")
    named = system_name if record.kind is RecordKind.SYSTEM else metric_name
    return [
        Metric(named(name), float(value), record.time_ms, record.seq if step is None else step)
        for name, value in record.body["values"].items()
    ]


def metric_name(name: str) -> str:
    """A metric of the user's, apart from the machine's figures."""
    return unreserved_name(name, (SYSTEM_PREFIX,))


def tag_name(tag: str) -> str:
    """A tag of the user's, apart from those that mean something to MLflow or to us."""
    return unreserved_name(tag, (MLFLOW_TAG, OWN_TAG))


def _cut(text: str, most_chars: int) -> str:
    return text if len(text) <= most_chars else f"{text[: most_chars - 1]}…"


def system_name(name: str) -> str:
    """A figure of the machine's where MLflow's pages look for them: ``sys/`` becomes ``system/``."""
    return mlflow_name(f"{SYSTEM_PREFIX}{name.removeprefix('sys/') if name.startswith('sys/') else f'own/{name}'}")


def artifact_path(body: Mapping[str, Any]) -> str:
    """Where a logged file lies among the artifacts of its run: its name, its step, its place in a list."""
    step, index = body.get("step"), body.get("index") or 0
    file_name = str(body.get("file_name") or "file").replace("/", "_")
    if not Path(file_name).suffix and (extension := mimetypes.guess_extension(str(body.get("mime", "")))):
        file_name += extension
    parts = [
        mlflow_name(str(body["name"])),
        *([] if step is None else [f"step_{step}"]),
        f"{index}_{mlflow_name(file_name)}" if index else mlflow_name(file_name),
    ]
    return "/".join(parts)


def _check_gone(refused: RefusedRequest) -> None:
    if refused.code == MISSING:
        raise RunGone from refused
