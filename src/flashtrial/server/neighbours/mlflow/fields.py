"""Which fields a filter or an order of MLflow's may name, and what each can be compared with. Pure.

A name that there cannot be is an error and no empty answer. More is understood than by MLflow's own stores: ``IN`` for
parameters, tags and every attribute that is a text.
"""

from enum import StrEnum
from typing import Any

from flashtrial.server.neighbours.mlflow.errors import INVALID, MlflowError

DATASETS = "datasets"


class Asked(StrEnum):
    """What is searched."""

    RUNS = "runs"
    EXPERIMENTS = "experiments"
    MODELS = "models"


_KINDS = {
    "metric": "metrics",
    "metrics": "metrics",
    "param": "params",
    "params": "params",
    "parameter": "params",
    "parameters": "params",
    "tag": "tags",
    "tags": "tags",
    "attribute": "info",
    "attributes": "info",
    "attr": "info",
    "run": "info",
}
_RUN_KINDS = {"dataset": DATASETS, DATASETS: DATASETS}
_ALIASES = {"created": "start_time", "run name": "run_name"}
_TEXTS = {
    Asked.RUNS: {"run_id", "run_uuid", "run_name", "experiment_id", "user_id", "status", "artifact_uri"},
    Asked.EXPERIMENTS: {"name", "experiment_id", "artifact_location"},
    Asked.MODELS: {"name", "model_id", "model_type", "status", "source_run_id"},
}
_LIFE = {"lifecycle_stage"}
_NUMBERS = {
    Asked.RUNS: {"start_time", "end_time"},
    Asked.EXPERIMENTS: {"creation_time", "last_update_time"},
    Asked.MODELS: {"creation_timestamp"},
}
_DATASET_TEXTS = {"name", "digest", "context"}
_TEXT_SIGNS = {"=", "!=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"}
_NUMBER_SIGNS = {"=", "!=", ">", ">=", "<", "<=", "IS NULL", "IS NOT NULL"}


def kind_and_name(head: str | None, name: str, asked: Asked) -> tuple[str, str]:
    """The kind of a field (``metrics``, ``params``, ``tags``, ``datasets``, ``info``), and its name.

    Raises `MlflowError`.
    """
    kinds = _KINDS | (_RUN_KINDS if asked is Asked.RUNS else {})
    kind = "info" if head is None else kinds.get(head.strip().lower())
    if kind is None:
        raise MlflowError(f"Invalid entity type {head!r:.100}: one of {', '.join(sorted(kinds))}", INVALID)
    if kind == DATASETS and name not in _DATASET_TEXTS:
        raise MlflowError(f"Invalid dataset key {name!r:.100}: one of {', '.join(sorted(_DATASET_TEXTS))}", INVALID)
    if kind != "info":
        return kind, name
    name = _ALIASES.get(name.lower(), name)
    known = _TEXTS[asked] | _NUMBERS[asked] | _LIFE
    if name not in known:
        raise MlflowError(f"Invalid attribute key {name!r:.100}: one of {', '.join(sorted(known))}", INVALID)
    return kind, name


def check_comparison(field: tuple[str, str], sign: str, value: Any, asked: Asked) -> None:
    """Raises `MlflowError` for a comparison that makes no sense for the field."""
    kind, name = field
    is_number = kind == "metrics" or (kind == "info" and name in _NUMBERS[asked])
    signs = _NUMBER_SIGNS if is_number else _TEXT_SIGNS
    if sign not in signs or (kind == DATASETS and sign.startswith("IS")):
        raise MlflowError(f"Invalid comparator {sign!r} for {kind} {name!r:.100}", INVALID)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if any(isinstance(each, str) == is_number for each in values):
        wanted = "a number" if is_number else "a text in quotes"
        raise MlflowError(f"{kind} {name!r:.100} is compared with {wanted}", INVALID)
