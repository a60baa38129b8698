"""MLflow's logged models, as far as its clients need them to log a model and to load it: no registry, no figures.

A model belongs to the run that made it, and its id ends with the run's; its files are artifacts of that run, below
``models/``. What is known of it is a fact of the run.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import orjson

from flashtrial.core.clock import Clock
from flashtrial.core.masking import masked_config
from flashtrial.protocol.records import JsonValue
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.mlflow.errors import INVALID, MISSING, MlflowError
from flashtrial.server.neighbours.mlflow.experiments import key_values
from flashtrial.server.neighbours.mlflow.runs import MlflowRuns
from flashtrial.server.neighbours.mlflow.shown import OUTPUTS, key_value_list
from flashtrial.server.views import RunView
from flashtrial.tracking.runs.names import readable_name

MODELS = "mlflow.models"
HISTORY_TAG = "mlflow.log-model.history"

PENDING = "LOGGED_MODEL_PENDING"
_STATUSES = {1: PENDING, 2: "LOGGED_MODEL_READY", 3: "LOGGED_MODEL_UPLOAD_FAILED"}


class MlflowModels:
    """Models of all runs. From any thread. Each method raises `MlflowError`; models are in MLflow's shape."""

    def __init__(self, ledger: Ledger, runs: MlflowRuns, clock: Clock, *, mask_secrets: bool = True) -> None:
        self._ledger = ledger
        self._runs = runs
        self._clock = clock
        self._mask_secrets = mask_secrets

    def create(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """A new model of a run."""
        if not said.get("source_run_id"):
            raise MlflowError("a model is kept with the run that made it: log it inside of mlflow.start_run()", INVALID)
        view = self._runs.writable(said["source_run_id"])
        model_id = f"m-{uuid4().hex[:12]}-{view['id']}"
        kept: dict[str, JsonValue] = {
            "name": str(said.get("name") or readable_name(model_id)),
            "model_type": str(said.get("model_type") or ""),
            "status": PENDING,
            "created_ms": self._clock.time_ms(),
            "params": dict(key_values(said.get("params"))),
            "tags": dict(key_values(said.get("tags"))),
        }
        self._ledger.merge_fact(view["id"], MODELS, {model_id: self._kept(kept)})
        return self.find(model_id)

    def find(self, model_id: str) -> dict[str, Any]:
        """The model with this id."""
        view = self._run_of(model_id)
        return self._shown(view, model_id, _found(self._ledger.fact(view["id"], MODELS), model_id))

    def of(self, views: list[RunView]) -> list[dict[str, Any]]:
        """All models of these runs, newest first."""
        by_run = self._ledger.facts_of([view["id"] for view in views], MODELS)
        found = [
            self._shown(view, model_id, _found(by_run[view["id"]], model_id))
            for view in views
            for model_id in _map(by_run.get(view["id"]))
        ]
        return sorted(found, key=lambda model: (-model["info"]["creation_timestamp_ms"], model["info"]["model_id"]))

    def finalize(self, model_id: str, status: object) -> dict[str, Any]:
        """Its files are here, or will not come."""
        word = _STATUSES.get(status, "") if isinstance(status, int) else str(status)
        if word not in _STATUSES.values():
            raise MlflowError(f"Invalid model status {status!r:.50}", INVALID)
        return self._change(model_id, lambda model: {**model, "status": word})

    def put(self, model_id: str, what: str, news: Mapping[str, str | None]) -> dict[str, Any]:
        """Change its ``params`` or ``tags``; None takes one out."""

        def changed(model: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
            items = {**_map(model[what]), **news}
            return {**model, what: {name: value for name, value in items.items() if value is not None}}

        return self._change(model_id, changed)

    def remove(self, model_id: str) -> None:
        """Know of it no more; its files stay."""
        self._ledger.merge_fact(self._run_of(model_id)["id"], MODELS, {self.find(model_id)["info"]["model_id"]: None})

    def add_outputs(self, said: Mapping[str, Any]) -> None:
        """Which models a run has made, and at which step."""
        view = self._runs.writable(said["run_id"])
        models = said.get("models")
        if not isinstance(models, list) or not all(isinstance(each, dict) for each in models):
            raise MlflowError("models is a list of {model_id, step}", INVALID)
        news = {str(each.get("model_id")): str(each.get("step") or 0) for each in models}
        self._ledger.merge_fact(view["id"], OUTPUTS, news)

    def note_history(self, said: Mapping[str, Any]) -> None:
        """Add a model to the tag that clients before MLflow 3 read."""
        view = self._runs.writable(said["run_id"])
        try:
            news = orjson.loads(str(said.get("model_json")))
        except orjson.JSONDecodeError:
            raise MlflowError("Malformed model info: it is no JSON", INVALID) from None
        tags = {tag["key"]: tag["value"] for tag in self._runs.show(view)["data"]["tags"]}
        try:
            before = orjson.loads(tags.get(HISTORY_TAG, "[]"))
        except orjson.JSONDecodeError:
            before = []
        history = orjson.dumps([*(before if isinstance(before, list) else []), news]).decode()
        self._runs.log({"run_id": view["id"], "tags": [{"key": HISTORY_TAG, "value": history}]})

    def _run_of(self, model_id: str) -> RunView:
        """The run that a model's id names."""
        try:
            return self._runs.view(model_id.split("-", 2)[2])
        except (IndexError, MlflowError):
            raise _no_model(model_id) from None

    def _change(
        self, model_id: str, change: Callable[[Mapping[str, JsonValue]], Mapping[str, JsonValue]]
    ) -> dict[str, Any]:
        def changed(models: JsonValue) -> JsonValue:
            return {**_map(models), model_id: self._kept(change(_found(models, model_id)))}

        self._ledger.change_fact(self._run_of(model_id)["id"], MODELS, changed)
        return self.find(model_id)

    def _kept(self, model: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        return masked_model(model) if self._mask_secrets else dict(model)

    def _shown(self, view: RunView, model_id: str, model: Mapping[str, Any]) -> dict[str, Any]:
        experiment = self._runs.experiment_of(view)
        info = {
            "model_id": model_id,
            "experiment_id": str(experiment.number),
            "name": model["name"],
            "creation_timestamp_ms": model["created_ms"],
            "last_updated_timestamp_ms": model["created_ms"],
            "artifact_uri": f"mlflow-artifacts:/{experiment.number}/{view['id']}/artifacts/models/{model_id}",
            "status": model["status"],
            "model_type": model["model_type"],
            "source_run_id": view["id"],
            "tags": key_value_list(model["tags"]),
        }
        return {"info": info, "data": {"params": key_value_list(model["params"]), "metrics": []}}


def masked_model(model: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A model as it is kept, without the secrets of its ``params`` and ``tags``."""
    return {**model, **{what: masked_config(_map(model.get(what))) for what in ("params", "tags")}}


def searchable_model(shown: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a filter or an order may ask of a shown model."""
    info = shown["info"]
    return {
        "info": info | {"creation_timestamp": info["creation_timestamp_ms"]},
        "params": {item["key"]: item["value"] for item in shown["data"]["params"]},
        "tags": {item["key"]: item["value"] for item in info["tags"]},
    }


def _found(models: JsonValue, model_id: str) -> Mapping[str, Any]:
    found = _map(models).get(model_id)
    if not isinstance(found, dict):
        raise _no_model(model_id)
    return found


def _no_model(model_id: str) -> MlflowError:
    return MlflowError(f"Logged model with ID '{model_id[:100]}' not found.", MISSING)


def _map(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}
