"""The life of a run as MLflow's clients tell it. MLflow's run id is ours.

Every metric value is a record of its own, known by name, value, time and step: as MLflow's own stores do, the same said
twice is kept once, however a client cuts its batches.
"""

from collections.abc import Mapping
from typing import Any

from flashtrial.core.masking import MASK
from flashtrial.protocol.mlflow_params import params_of
from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.mlflow.errors import INVALID, MlflowError, no_run
from flashtrial.server.neighbours.mlflow.experiments import ACTIVE, DELETED, Experiment, Experiments, key_values
from flashtrial.server.neighbours.mlflow.inputs import joined_inputs, parsed_inputs
from flashtrial.server.neighbours.mlflow.latest import Latest
from flashtrial.server.neighbours.mlflow.shown import FACTS, INPUTS, TAGS, Shown, ShownRuns, tags_of
from flashtrial.server.neighbours.recorder import Entry, Recorder
from flashtrial.server.neighbours.runs import Runs
from flashtrial.server.records import MAX_INT64, MAX_NAME_CHARS
from flashtrial.server.views import RunView
from flashtrial.tracking.runs.names import readable_name

RUN_NAME = "mlflow.runName"
OWN_PREFIXES = ("mlflow.", "flashtrial.")
SYSTEM_PREFIX = "system/"

_FROM_MLFLOW = {
    "RUNNING": RunStatus.RUNNING,
    "SCHEDULED": RunStatus.CREATED,
    "FINISHED": RunStatus.FINISHED,
    "FAILED": RunStatus.FAILED,
    "KILLED": RunStatus.STOPPED,
}
_BY_NUMBER = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


class MlflowRuns:
    """Runs by MLflow's words. From any thread. Each method raises `MlflowError`, and as `Recorder.write` does."""

    def __init__(
        self, recorder: Recorder, ledger: Ledger, runs: Runs, experiments: Experiments, shown: ShownRuns
    ) -> None:
        self._recorder = recorder
        self._ledger = ledger
        self._runs = runs
        self._experiments = experiments
        self._shown = shown
        self._latest = Latest(ledger)

    def view(self, run_id: object) -> RunView:
        """The run with this id."""
        found = self._runs.by_id(run_id) if isinstance(run_id, str) and run_id else None
        if found is None:
            raise no_run(run_id)
        return found

    def show(self, view: RunView) -> Shown:
        """The run in MLflow's shape."""
        [shown] = self._shown.show([view], {view["project"]: self.experiment_of(view)})
        return shown

    def experiment_of(self, view: RunView) -> Experiment:
        return self._experiments.of_project(view["project"])

    def create(self, said: Mapping[str, Any], run_id: str) -> Shown:
        """A new run of an experiment, with this id; the one that there is, where the request came before."""
        experiment = self._experiments.find(said.get("experiment_id") or "0")
        if experiment.stage == DELETED:
            raise MlflowError(f"The experiment {experiment.number} must be in the 'active' state.", INVALID)
        found = self._runs.by_id(run_id)
        if found is None:
            self._make(run_id, experiment, said)
            found = self._runs.by_id(run_id)
        assert found is not None, "committed, and not there"
        return self.show(found)

    def update(self, said: Mapping[str, Any]) -> Shown:
        """Change status, end time or name."""
        view = self.writable(said["run_id"])
        status = _status(said["status"]) if said.get("status") is not None else RunStatus(view["status"])
        news: dict[str, Any] = {"status": status.value}
        if isinstance(said.get("run_name"), str) and said["run_name"]:
            news["name"] = said["run_name"]
        if "status" in said:
            ended = _whole(said.get("end_time")) if status.is_finished else None
            self._ledger.merge_fact(view["id"], FACTS, {"end_time": ended or (self._now() if ended == 0 else None)})
        self._write(view, Entry(RecordKind.STATE, _whole(said.get("end_time")) or self._now(), news))
        return self.show(self.view(view["id"]))

    def set_stage(self, run_id: object, stage: str) -> None:
        """Delete or restore a run for MLflow's clients; its records stay."""
        view = self.view(run_id)
        self._ledger.merge_fact(view["id"], FACTS, {"stage": None if stage == ACTIVE else stage})

    def log(self, said: Mapping[str, Any]) -> None:
        """Metrics, parameters and tags, all or none of them valid."""
        view = self.writable(said["run_id"])
        params = _params(said.get("params"))
        self._check_params(view, params)
        entries = [self._metric(item) for item in _list(said.get("metrics"))]
        if params:
            entries.append(Entry(RecordKind.CONFIG, self._now(), {"set": params}))
        self._write(view, *entries)
        self._latest.note(view["id"], entries)
        if tags := key_values(said.get("tags")):
            self._tag(view, dict(tags))

    def delete_tag(self, said: Mapping[str, Any]) -> None:
        """Take a tag away."""
        view, key = self.writable(said["run_id"]), str(said["key"])
        tags = self._ledger.fact(view["id"], TAGS)
        if key not in tags_of(view, tags if isinstance(tags, dict) else {}):
            raise MlflowError(f"No tag with name: {key[:250]} in run with id {view['id']}", "RESOURCE_DOES_NOT_EXIST")
        self._tag(view, {key: None})

    def add_inputs(self, said: Mapping[str, Any]) -> None:
        """Remember which data sets a run used; the same one twice is one."""
        view = self.writable(said["run_id"])
        if news := parsed_inputs(said.get("datasets")):
            self._ledger.change_fact(view["id"], INPUTS, lambda before: joined_inputs(before, news))

    def is_deleted(self, run_id: str) -> bool:
        """Whether somebody deleted a run with this id, for MLflow's clients or for good."""
        return self._is_marked(run_id) or self._runs.was_removed(run_id)

    def writable(self, run_id: object) -> RunView:
        """The run with this id, which nobody has deleted."""
        view = self.view(run_id)
        if self._is_marked(view["id"]) or self._experiments.is_deleted(view["project"]):
            raise MlflowError(f"The run {view['id']} must be in the 'active' state. Current state is deleted.", INVALID)
        return view

    def _is_marked(self, run_id: str) -> bool:
        facts = self._ledger.fact(run_id, FACTS)
        return isinstance(facts, dict) and facts.get("stage") == DELETED

    def _make(self, run_id: str, experiment: Experiment, said: Mapping[str, Any]) -> None:
        tags = key_values(said.get("tags"))
        name = _name(said, tags) or readable_name(run_id)
        start_ms = _whole(said.get("start_time")) or self._now()
        self._ledger.set_fact(run_id, FACTS, {"user_id": said.get("user_id") or None, "start_time": start_ms})
        self._ledger.set_fact(run_id, TAGS, {key: value for key, value in tags.items() if key != RUN_NAME})
        body = {"status": "running", "project": experiment.project, "name": name[:MAX_NAME_CHARS], "tags": _own(tags)}
        if refused := self._recorder.write(run_id, [Entry(RecordKind.STATE, start_ms, body)]):
            raise MlflowError("; ".join(refused), INVALID)

    def _tag(self, view: RunView, news: Mapping[str, str | None]) -> None:
        said = self._ledger.fact(view["id"], TAGS)
        before = tags_of(view, said if isinstance(said, dict) else {})
        self._ledger.merge_fact(view["id"], TAGS, {key: value for key, value in news.items() if key != RUN_NAME})
        old = {key: before[key] for key in news if key in before}
        body = {"tags": [], "add": _own(news), "remove": [tag for tag in view["tags"] if _is_of(tag, old)]}
        body["remove"] = [tag for tag in body["remove"] if tag not in body["add"]]
        entries = [Entry(RecordKind.TAGS, self._now(), body)] if body["add"] or body["remove"] else []
        if name := news.get(RUN_NAME):
            entries.append(Entry(RecordKind.STATE, self._now(), {"status": view["status"], "name": name}))
        if entries:
            self._write(view, *entries)

    def _metric(self, said: Mapping[str, Any]) -> Entry:
        name, value = said.get("key"), said.get("value")
        if not isinstance(name, str) or not name:
            raise MlflowError("Metric name cannot be None.", INVALID)
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise MlflowError(f"Got invalid value {value!r:.100} for metric {name!r:.100}", INVALID) from None
        if said.get("timestamp") is None:
            raise MlflowError(f"Missing value for required parameter 'timestamp' of metric {name!r:.100}", INVALID)
        time_ms, step = _whole(said.get("timestamp")), _whole(said.get("step") or 0)
        kind = RecordKind.SYSTEM if name.startswith(SYSTEM_PREFIX) else RecordKind.METRIC
        return Entry(kind, time_ms or 0, {"step": step, "values": {name: number}}, once=True)

    def _check_params(self, view: RunView, params: Mapping[str, str]) -> None:
        """A parameter is written once; the same value again is fine."""
        if not params:
            return
        known = params_of(view["config"])
        for key, value in params.items():
            if known.get(key, value) not in (value, MASK):  # a secret may be said again
                raise MlflowError(
                    f"Changing param values is not allowed. Param with key={key[:250]!r} was already logged with "
                    f"value={known[key][:500]!r} for run ID={view['id']!r}. Attempted new value {value[:500]!r}",
                    INVALID,
                )

    def _write(self, view: RunView, *entries: Entry) -> None:
        if entries and (refused := self._recorder.write(view["id"], entries)):
            raise MlflowError("; ".join(refused[:3]), INVALID)

    def _now(self) -> int:
        return self._recorder.now_ms()


def _own(tags: Mapping[str, str | None]) -> list[str]:
    """The tags that the dashboard shows, too: those of the user's."""
    found = (f"{key}={value}" if value else key for key, value in tags.items() if value is not None)
    return [tag for tag in found if not tag.startswith(OWN_PREFIXES) and len(tag) <= MAX_NAME_CHARS]


def _is_of(tag: str, old: Mapping[str, str]) -> bool:
    name, _, value = tag.partition("=")
    return old.get(name) == value


def _name(said: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """The name that a new run is given; empty where it is given none. Raises `MlflowError`."""
    name, tagged = said.get("run_name"), tags.get(RUN_NAME)
    if name is not None and not isinstance(name, str):
        raise MlflowError(f"Invalid value {name!r:.100} for parameter 'run_name': it is a text", INVALID)
    if name and tagged and name != tagged:
        raise MlflowError(
            f"Both 'run_name' argument and '{RUN_NAME}' tag are specified, but with different values "
            f"(run_name={name!r:.100}, {RUN_NAME}={tagged!r:.100}).",
            INVALID,
        )
    return name or tagged or ""


def _params(said: object) -> dict[str, str]:
    """Parameters by name, none of them with two values."""
    found = key_values(said)
    if isinstance(said, list) and any(found[str(item["key"])] != str(item.get("value", "")) for item in said):
        raise MlflowError("Duplicate parameter keys have been submitted, with different values", INVALID)
    return found


def _status(said: object) -> RunStatus:
    word = _BY_NUMBER.get(said, "") if isinstance(said, int) else str(said)
    if word not in _FROM_MLFLOW:
        raise MlflowError(f"Invalid status {said!r:.50}", INVALID)
    return _FROM_MLFLOW[word]


def _whole(said: object) -> int:
    """A whole number of 64 bits, which protobuf's JSON may write as a text; 0 for none."""
    if said is None or said == "":
        return 0
    try:
        number = int(said)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or abs(number) > MAX_INT64:
        raise MlflowError(f"{said!r:.50} is not a whole number", INVALID)
    return int(number)


def _list(said: object) -> list[dict[str, Any]]:
    if said is None:
        return []
    if not isinstance(said, list) or not all(isinstance(item, dict) for item in said):
        raise MlflowError("expected a list of objects", INVALID)
    return said
