"""An MLflow server as a destination: each of our runs is exactly one run there.

The run is found by its tag ``flashtrial.run_id``, and made, parameters at once, where there is none. MLflow knows no
ids of records, but what a repeated request says is stored once: a metric by name, time, step and value, a parameter and
a tag by name, an artifact by path. Which run is whose is written down beside the outbox.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flashtrial.core import env
from flashtrial.protocol.records import Record, RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.backends.base import Outage, RefusedRecord, WriterNotice
from flashtrial.tracking.backends.mlflow_rest import MLflowManager, MlflowRest
from flashtrial.tracking.backends.mlflow_run import MlflowRun, RunGone
from flashtrial.tracking.backends.record_backend import RecordBackend
from flashtrial.tracking.backends.rest import RefusedRequest
from flashtrial.tracking.backends.run_book import RunBook
from flashtrial.tracking.journal.facts import Role

__all__ = ["MLflowManager", "MlflowBackend", "open_backend"]

RUN_TAG = "flashtrial.run_id"
DEFAULT_EXPERIMENT = "default"
MAX_EXPERIMENT_CHARS = 500


def open_backend(home: Path, environment: Mapping[str, str]) -> "MlflowBackend":
    """The backend for the server that ``MLFLOW_TRACKING_URI`` names. Raises `Outage` for an address that is none."""
    outbox = Path(environment.get(env.OUTBOX) or home / "outbox").expanduser().absolute()
    return MlflowBackend(MlflowRest.from_environment(environment), outbox, home / "destinations" / "mlflow")


class MlflowBackend(RecordBackend):
    """See `Backend` and `PulseBackend`. `book` is the folder that remembers which run is which."""

    name = "mlflow"

    def __init__(self, rest: MlflowRest, outbox: Path, book: Path) -> None:
        super().__init__()
        self._rest = rest
        self._outbox = outbox
        self._book = RunBook(book, rest.url)
        self._runs: dict[str, MlflowRun] = {}

    def deliver(self, run_id: str, records: Sequence[Record]) -> list[RefusedRecord]:
        """See `RecordBackend`."""
        try:
            return self._run(run_id, records).take(records)
        except RunGone as gone:
            self._runs.pop(run_id, None)
            self._book.drop(run_id)
            raise Outage(f"run {run_id} is not at {self._rest.url} any more; it is made again") from gone
        except RefusedRequest as refused:  # by who was asked to make the run: nothing of it can be stored now
            raise Outage(str(refused)) from refused

    def beat(self, notices: Sequence[WriterNotice], every_s: float) -> bool:
        """End the runs whose owner died without a word. See `PulseBackend`."""
        del every_s
        for notice in notices:
            if notice.is_alive or notice.ended or notice.role is not Role.OWNER:
                continue
            run = self._known(notice.run_id)
            if run is not None and self._rest.run(run.id)["info"].get("status") == "RUNNING":
                run.end(RunStatus.INTERRUPTED, _last_ms(run), notice.reason)
        return True

    def close(self) -> None:
        self._rest.close()

    def _run(self, run_id: str, records: Sequence[Record]) -> MlflowRun:
        if run_id not in self._runs:
            self._runs[run_id] = self._known(run_id) or self._found_or_made(run_id, records)
        return self._runs[run_id]

    def _known(self, run_id: str) -> MlflowRun | None:
        """The run as it was written down."""
        if run_id in self._runs:
            return self._runs[run_id]
        entry = self._book.get(run_id)
        if entry is None:
            return None
        try:
            return MlflowRun.shown(self._rest, self._outbox, self._rest.run(str(entry["mlflow_run_id"])))
        except RefusedRequest:
            self._book.drop(run_id)
            return None

    def _found_or_made(self, run_id: str, records: Sequence[Record]) -> MlflowRun:
        """Looks before it makes and again after: of two sync processes that made one each, the first run is kept."""
        opening = _opening(records)
        experiment = self._rest.experiment(experiment_name(str(opening.get("project") or DEFAULT_EXPERIMENT)))
        found = self._rest.runs_with_tag(experiment, RUN_TAG, run_id)
        if not found:
            name = str(opening.get("name") or run_id)
            made = self._rest.create_run(experiment, name, records[0].time_ms, {RUN_TAG: run_id})
            found = self._rest.runs_with_tag(experiment, RUN_TAG, run_id) or [made]
            if _id(_first(found)) != _id(made):
                self._rest.delete_run(_id(made))
        first = _first(found)
        self._book.put(run_id, {"mlflow_run_id": _id(first)})
        return MlflowRun.shown(self._rest, self._outbox, first)


def experiment_name(project: str) -> str:
    """The experiment of a project: its name, or the head of one that is too long, and a digest."""
    if len(project) <= MAX_EXPERIMENT_CHARS:
        return project
    digest = hashlib.sha256(project.encode()).hexdigest()[:16]
    return f"{project[: MAX_EXPERIMENT_CHARS - 17]}-{digest}"


def _opening(records: Sequence[Record]) -> Mapping[str, Any]:
    return next((record.body for record in records if record.kind is RecordKind.STATE), {})


def _first(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The same for everybody who looks: active before deleted, then the first to start, then by id."""
    return min(
        runs,
        key=lambda run: (
            run["info"].get("lifecycle_stage") == "deleted",
            int(run["info"].get("start_time") or 0),
            run["info"]["run_id"],
        ),
    )


def _id(run: Mapping[str, Any]) -> str:
    return str(run["info"]["run_id"])


def _last_ms(run: MlflowRun) -> int:
    """When a run that ended without a word did so, for all that is known: now."""
    return max(run.moved_ms, time.time_ns() // 1_000_000)
