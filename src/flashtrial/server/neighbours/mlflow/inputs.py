"""The data sets that MLflow's clients say a run has used: read, put together, and laid open to filters. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from flashtrial.protocol.records import JsonValue
from flashtrial.server.neighbours.mlflow.errors import INVALID, MlflowError
from flashtrial.server.neighbours.mlflow.experiments import key_values

CONTEXT = "mlflow.data.context"
_ALWAYS = ("name", "digest", "source_type", "source")
_SOMETIMES = ("schema", "profile")


def parsed_inputs(said: object) -> list[JsonValue]:
    """The data sets of a request as they are kept and told, texts throughout. Raises `MlflowError`."""
    if said is None:
        return []
    if not isinstance(said, list) or not all(isinstance(item, dict) for item in said):
        raise MlflowError("datasets is a list of {dataset, tags}", INVALID)
    return [_input(item) for item in said]


def joined_inputs(before: object, news: Iterable[JsonValue]) -> list[JsonValue]:
    """All of them, one for each name and digest: what was said first of it stays, as in MLflow's own stores."""
    found: dict[tuple[str, str], JsonValue] = {}
    for item in [*(before if isinstance(before, list) else []), *news]:
        dataset = _dataset(item)
        found.setdefault((str(dataset.get("name")), str(dataset.get("digest"))), item)
    return list(found.values())


def searchable_inputs(inputs: Iterable[JsonValue]) -> dict[str, list[str]]:
    """The names, digests and contexts of a run's data sets."""
    found: dict[str, list[str]] = {"name": [], "digest": [], "context": []}
    for item in inputs:
        dataset = _dataset(item)
        for name in ("name", "digest"):
            found[name].append(str(dataset.get(name, "")))
        tags = item.get("tags") if isinstance(item, dict) else None
        for tag in tags if isinstance(tags, list) else []:
            if isinstance(tag, dict) and tag.get("key") == CONTEXT:
                found["context"].append(str(tag.get("value", "")))
    return found


def _input(said: Mapping[str, Any]) -> JsonValue:
    dataset = _dataset(said)
    kept: dict[str, JsonValue] = {name: str(dataset.get(name) or "") for name in _ALWAYS}
    kept |= {name: str(dataset[name]) for name in _SOMETIMES if dataset.get(name) is not None}
    tags = key_values(said.get("tags"))
    return {"dataset": kept, "tags": [{"key": key, "value": value} for key, value in tags.items()]}


def _dataset(item: object) -> Mapping[str, Any]:
    found = item.get("dataset") if isinstance(item, dict) else None
    return found if isinstance(found, dict) else {}
