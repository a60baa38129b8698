"""What the MLflow routes are made of, built in one place, and the questions over many runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from flashtrial.core.clock import Clock
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.mlflow.artifacts import MlflowArtifacts
from flashtrial.server.neighbours.mlflow.errors import INVALID, MlflowError
from flashtrial.server.neighbours.mlflow.experiments import ACTIVE, DELETED, Experiment, Experiments
from flashtrial.server.neighbours.mlflow.fields import Asked
from flashtrial.server.neighbours.mlflow.models import MlflowModels, searchable_model
from flashtrial.server.neighbours.mlflow.runs import MlflowRuns
from flashtrial.server.neighbours.mlflow.search import holds, parse_filter, parse_order, sort_key
from flashtrial.server.neighbours.mlflow.shown import Shown, ShownRuns, number, searchable
from flashtrial.server.neighbours.recorder import Recorder
from flashtrial.server.neighbours.runs import Runs
from flashtrial.server.records import MAX_INT64
from flashtrial.server.repository import Repository
from flashtrial.server.settings import ServerSettings
from flashtrial.server.storage.columns import Columns
from flashtrial.server.storage.logged import BEGINNING, Mark

MAX_RESULTS = 50_000
_BAD_PAGE = "Invalid page token: it is the next_page_token of an answer to the same question"
_TOKEN = re.compile(r"[0-9]{1,19}")
_STAGES: dict[object, frozenset[str]] = {
    "ACTIVE_ONLY": frozenset({ACTIVE}),
    "DELETED_ONLY": frozenset({DELETED}),
    "ALL": frozenset({ACTIVE, DELETED}),
    1: frozenset({ACTIVE}),
    2: frozenset({DELETED}),
    3: frozenset({ACTIVE, DELETED}),
}


@dataclass(frozen=True, slots=True)
class MlflowWire:
    """The parts; building them opens nothing."""

    experiments: Experiments
    runs: MlflowRuns
    artifacts: MlflowArtifacts
    models: MlflowModels
    shown: ShownRuns
    reader: Runs

    def search_runs(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """A page of runs. Raises `MlflowError`."""
        stages, terms = _stages(said.get("run_view_type")), parse_filter(said.get("filter"))
        order = parse_order(said.get("order_by"))
        found: list[Shown] = []
        for experiment in self._experiments_of(said.get("experiment_ids")):
            views = [run.view for run in self.reader.of_project(experiment.project)]
            found += self.shown.show(views, {experiment.project: experiment})
        found = [run for run in found if run["info"]["lifecycle_stage"] in stages]
        if terms:
            found = [run for run in found if holds(searchable(run), terms)]
        found.sort(key=lambda run: (-run["info"]["start_time"], run["info"]["run_id"]))
        for field, descending in reversed(order):
            keys = {run["info"]["run_id"]: sort_key(searchable(run), field, descending=descending) for run in found}
            found.sort(key=lambda run, keys=keys: keys[run["info"]["run_id"]])  # type: ignore[misc]
        return _page("runs", found, said, 1000)

    def search_experiments(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """A page of experiments. Raises `MlflowError`."""
        stages, terms = _stages(said.get("view_type")), parse_filter(said.get("filter"), Asked.EXPERIMENTS)
        order = parse_order(said.get("order_by"), Asked.EXPERIMENTS)
        found = [each.shown() for each in self.experiments.all() if each.stage in stages]
        found = [each for each in found if holds(_searchable_experiment(each), terms)]
        for field, descending in reversed(order):
            keys = {
                each["experiment_id"]: sort_key(_searchable_experiment(each), field, descending=descending)
                for each in found
            }
            found.sort(key=lambda each, keys=keys: keys[each["experiment_id"]])  # type: ignore[misc]
        return _page("experiments", found, said, 1000)

    def search_models(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """A page of logged models, newest first unless told otherwise. Raises `MlflowError`."""
        terms = parse_filter(said.get("filter"), Asked.MODELS)
        views = [
            run.view
            for experiment in self._experiments_of(said.get("experiment_ids"))
            for run in self.reader.of_project(experiment.project)
        ]
        orders = said.get("order_by") or []
        if not isinstance(orders, list):
            raise MlflowError("order_by is a list of {field_name, ascending}", INVALID)
        found = [model for model in self.models.of(views) if holds(searchable_model(model), terms)]
        for said_order in reversed(orders):
            name = str(said_order.get("field_name")) if isinstance(said_order, dict) else ""
            [(field, _)] = parse_order([name], Asked.MODELS)
            descending = said_order.get("ascending") is False
            found.sort(key=lambda each, f=field, d=descending: sort_key(searchable_model(each), f, descending=d))  # type: ignore[misc]
        return _page("models", found, said, 1000)

    def history(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The points of one metric: a page of them, or all where no `max_results` is named. Raises `MlflowError`."""
        view = self.runs.view(said["run_id"])
        name = str(said["metric_key"])
        most = None if said.get("max_results") in (None, "") else _most(said, MAX_RESULTS)
        points, more = self.reader.logged(view["id"], name, _mark(said), most)
        return {
            "metrics": _points(name, points),
            **({"next_page_token": f"{more.writer}.{more.seq}"} if more else {}),
        }

    def bulk_interval(self, run_ids: list[str], said: Mapping[str, Any]) -> dict[str, Any]:
        """Points of one metric of several runs, thinned so that lows and highs stay. Raises `MlflowError`."""
        name, most = str(said["metric_key"]), _most(said, 2500)
        start = _whole(said, "start_step", 0) if said.get("start_step") not in (None, "") else None
        end = _whole(said, "end_step", 0) if said.get("end_step") not in (None, "") else None
        if start is not None and end is not None and start > end:
            raise MlflowError("end_step must be greater than start_step", INVALID)
        found = []
        for run_id in run_ids:
            points = self.reader.points(self.runs.view(run_id)["id"], name, start=start, end=end, limit=most)
            found += [{**_point(name, *point), "run_id": run_id} for point in points]
        return {"metrics": found}

    def _experiments_of(self, ids: object) -> list[Experiment]:
        if ids is None:
            return []
        if not isinstance(ids, list):
            raise MlflowError(f"Invalid value {ids!r:.100} for parameter 'experiment_ids': it is a list", INVALID)
        wanted = {str(each) for each in ids}
        return [each for each in self.experiments.all() if str(each.number) in wanted]


def mlflow_wire(
    repository: Repository, ledger: Ledger, store: BlobStore, settings: ServerSettings, clock: Clock
) -> MlflowWire:
    """The parts over one database and its blobs."""
    recorder = Recorder(repository, ledger, clock, "mlflow")
    reader = Runs(settings.db_path, ledger)
    experiments, shown = Experiments(ledger, reader, clock), ShownRuns(reader, ledger)
    runs = MlflowRuns(recorder, ledger, reader, experiments, shown)
    artifacts = MlflowArtifacts(store, settings.db_path, recorder, ledger, runs)
    models = MlflowModels(ledger, runs, clock, mask_secrets=settings.mask_secrets)
    return MlflowWire(experiments, runs, artifacts, models, shown, reader)


def _stages(said: object) -> frozenset[str]:
    word = said if isinstance(said, str | int) and said else "ACTIVE_ONLY"
    return _STAGES.get(word, _STAGES["ACTIVE_ONLY"])


def _page(name: str, found: list[Any], said: Mapping[str, Any], default: int) -> dict[str, Any]:
    """The wanted part of `found`, with a token for the next where there is more."""
    most = _most(said, default)
    token = str(said.get("page_token") or "0")
    if not _TOKEN.fullmatch(token):
        raise MlflowError(_BAD_PAGE, INVALID)
    start = int(token)
    more = {"next_page_token": str(start + most)} if start + most < len(found) else {}
    return {name: found[start : start + most], **more}


def _most(said: Mapping[str, Any], default: int) -> int:
    """How much a page holds. Raises `MlflowError`."""
    most = _whole(said, "max_results", default)
    if not 0 < most <= MAX_RESULTS:
        raise MlflowError(f"Invalid value {most} for parameter 'max_results': it is 1 to {MAX_RESULTS}", INVALID)
    return most


def _mark(said: Mapping[str, Any]) -> Mark:
    """Where a page of a history begins. Raises `MlflowError`."""
    token = said.get("page_token")
    if not token:
        return BEGINNING
    writer, dot, seq = str(token).partition(".")
    if not (dot and _TOKEN.fullmatch(writer) and _TOKEN.fullmatch(seq)):
        raise MlflowError(_BAD_PAGE, INVALID)
    return Mark(min(int(writer), MAX_INT64), min(int(seq), MAX_INT64))


def _searchable_experiment(shown: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {"info": dict(shown), "tags": {tag["key"]: tag["value"] for tag in shown["tags"]}}


def _point(name: str, step: int, time_ms: int, value: float) -> dict[str, Any]:
    return {"key": name, "value": number(value), "timestamp": time_ms, "step": step}


def _points(name: str, columns: Columns) -> orjson.Fragment:
    """A list of points, written a part at a time: a million of them would be gigabytes as objects."""
    parts = []
    for start in range(0, len(columns), MAX_RESULTS):
        part = columns[start : start + MAX_RESULTS]
        rows = zip(part.steps.tolist(), part.times_ms.tolist(), part.values.tolist(), strict=True)
        parts.append(orjson.dumps([_point(name, *row) for row in rows])[1:-1])
    return orjson.Fragment(b"[%b]" % b",".join(parts))


def _whole(said: Mapping[str, Any], name: str, default: int) -> int:
    value = said.get(name)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise MlflowError(f"Invalid value for {name}", INVALID) from None
