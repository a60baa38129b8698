"""Our runs as MLflow shows them: info, metrics, parameters, tags. Reads only."""

from collections.abc import Mapping, Sequence
from typing import Any

from flashtrial.protocol.mlflow_params import params_of
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.mlflow.experiments import ACTIVE, DELETED, Experiment
from flashtrial.server.neighbours.mlflow.inputs import searchable_inputs
from flashtrial.server.neighbours.mlflow.latest import Latest, higher
from flashtrial.server.neighbours.runs import LastPoint, Runs
from flashtrial.server.views import RunView

FACTS, TAGS, INPUTS, OUTPUTS = "mlflow.run", "mlflow.tags", "mlflow.inputs", "mlflow.outputs"

TO_MLFLOW = {
    RunStatus.CREATED: "SCHEDULED",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.FINISHED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.STOPPED: "KILLED",
    RunStatus.INTERRUPTED: "KILLED",
    RunStatus.LOST: "FAILED",
}
Shown = dict[str, Any]


class ShownRuns:
    """Answers about runs, many at once. From any thread."""

    def __init__(self, runs: Runs, ledger: Ledger) -> None:
        self._runs = runs
        self._ledger = ledger
        self._latest = Latest(ledger)

    def show(self, views: Sequence[RunView], experiments: Mapping[str, Experiment]) -> list[Shown]:
        """The runs in MLflow's shape; `experiments` by project."""
        ids = [view["id"] for view in views]
        facts, tags = self._ledger.facts_of(ids, FACTS), self._ledger.facts_of(ids, TAGS)
        inputs, outputs = self._ledger.facts_of(ids, INPUTS), self._ledger.facts_of(ids, OUTPUTS)
        lasts, noted = self._runs.last_points(ids), self._latest.of(ids)
        return [
            _shown(
                view,
                experiments[view["project"]],
                _map(facts.get(view["id"])),
                tags_of(view, _map(tags.get(view["id"]))),
                higher(lasts.get(view["id"], {}), noted.get(view["id"], {})),
            )
            | {"inputs": {"dataset_inputs": inputs.get(view["id"], [])}}
            | {"outputs": {"model_outputs": _outputs(_map(outputs.get(view["id"])))}}
            for view in views
        ]


def tags_of(view: RunView, said: Mapping[str, Any]) -> dict[str, str]:
    """Tags by name: ours, split at the first ``=``, and over them what MLflow's clients said."""
    own = (tag.partition("=") for tag in view["tags"])
    return {**{name: value for name, _, value in own if name}, **said, "mlflow.runName": view["name"]}


def searchable(shown: Shown) -> dict[str, dict[str, Any]]:
    """What a filter or an order may ask of a shown run, by kind and name."""
    data, info = shown["data"], shown["info"]
    return {
        "metrics": {item["key"]: float(item["value"]) for item in data["metrics"]},
        "params": {item["key"]: item["value"] for item in data["params"]},
        "tags": {item["key"]: item["value"] for item in data["tags"]},
        "info": info,
        "datasets": searchable_inputs(shown["inputs"]["dataset_inputs"]),
    }


def key_value_list(items: Mapping[str, str]) -> list[dict[str, str]]:
    """A map as MLflow writes it."""
    return [{"key": key, "value": value} for key, value in sorted(items.items())]


def number(value: float) -> float | str:
    """A value as protobuf's JSON has it: NaN and infinities as words."""
    if value != value:  # noqa: PLR0124 - NaN alone is not itself
        return "NaN"
    return value if abs(value) != float("inf") else ("Infinity" if value > 0 else "-Infinity")


def _shown(
    view: RunView,
    experiment: Experiment,
    facts: Mapping[str, Any],
    tags: Mapping[str, str],
    lasts: Mapping[str, LastPoint],
) -> Shown:
    status = RunStatus(view["status"])
    end_time = facts.get("end_time") or (view["updated_ms"] if status.is_finished else None)
    info = {
        "run_id": view["id"],
        "run_uuid": view["id"],
        "run_name": view["name"],
        "experiment_id": str(experiment.number),
        "user_id": str(facts.get("user_id") or tags.get("mlflow.user") or ""),
        "status": TO_MLFLOW[status],
        "start_time": facts.get("start_time") or view["created_ms"],
        "artifact_uri": f"mlflow-artifacts:/{experiment.number}/{view['id']}/artifacts",
        "lifecycle_stage": DELETED if DELETED in (facts.get("stage"), experiment.stage) else ACTIVE,
    }
    metrics = [
        {"key": name, "value": number(value), "timestamp": time_ms, "step": step}
        for name, (step, time_ms, value) in sorted(lasts.items())
    ]
    data = {"metrics": metrics, "params": key_value_list(params_of(view["config"])), "tags": key_value_list(tags)}
    return {"info": info | ({"end_time": end_time} if end_time and status.is_finished else {}), "data": data}


def _outputs(steps: Mapping[str, Any]) -> list[Shown]:
    return [{"model_id": model_id, "step": step} for model_id, step in steps.items()]


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
