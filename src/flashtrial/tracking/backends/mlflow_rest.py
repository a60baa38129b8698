"""MLflow's REST protocol as flashtrial's client speaks it: plain HTTP, without MLflow's own package.

Beside the calls of the sync process, `MLflowManager` offers the few that a user's program makes by itself.
"""

import base64
import json
import math
import posixpath
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from flashtrial.core import env
from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.backends.rest import RefusedRequest, Rest

DEFAULT_URL = "http://localhost:5002"
URL, TOKEN = "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"
USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"

MAX_METRICS = 1000
MAX_PARAMS = MAX_TAGS = 100
MAX_PAIRS_BYTES = 900_000  # of a request, which has a million at most
MAX_PARAM_CHARS = 6000
MAX_TAG_CHARS = 8000
EXISTS, MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True, slots=True)
class Metric:
    """One value; `name` is one that MLflow takes."""

    name: str
    value: float
    time_ms: int
    step: int

    def fields(self) -> dict[str, Any]:
        return {"key": self.name, "value": _number(self.value), "timestamp": self.time_ms, "step": self.step}


class MlflowRest:
    """One MLflow server. Each method raises `Outage` and `RefusedRequest`. Used by one thread."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise Outage(f"{URL} is {url!r:.100}: flashtrial speaks to MLflow servers at http:// and https:// alone")
        self.url = url.rstrip("/")
        self._rest = Rest(headers)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "MlflowRest":
        """The server that MLflow's own variables name, else the one at port 5002 of this machine. Raises `Outage`."""
        return cls(environment.get(URL) or DEFAULT_URL, credentials(environment))

    def close(self) -> None:
        self._rest.close()

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, which is made where there is none."""
        if (found := self.find_experiment(name)) is not None:
            return found
        try:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        except RefusedRequest as refused:
            if refused.code != EXISTS or (found := self.find_experiment(name)) is None:
                raise
            return found  # somebody was quicker

    def find_experiment(self, name: str) -> str | None:
        """The id of the experiment of this name."""
        try:
            found = self._get("experiments/get-by-name", {"experiment_name": name})["experiment"]
        except RefusedRequest as refused:
            if refused.code == MISSING:
                return None
            raise
        return str(found["experiment_id"])

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> dict[str, Any]:
        """A new run, as MLflow shows it."""
        said = {"experiment_id": experiment_id, "run_name": name, "start_time": start_ms, "tags": key_values(tags)}
        return _run(self._post("runs/create", said))

    def run(self, run_id: str) -> dict[str, Any]:
        """The run, as MLflow shows it."""
        return _run(self._get("runs/get", {"run_id": run_id}))

    def runs_with_tag(self, experiment_id: str, tag: str, value: str) -> list[dict[str, Any]]:
        """The runs of an experiment that have a tag with this value, deleted ones too, the first to start first."""
        quoted = value.replace("'", "''") if "'" in value else value
        said = {
            "experiment_ids": [experiment_id],
            "filter": f"tags.`{tag}` = '{quoted}'",
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
            "max_results": 50,
        }
        found = self._post("runs/search", said) or {}
        return list(found.get("runs", []))

    def log(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log as many at once as MLflow allows in a request, and as many requests as it takes."""
        for some in _chunks(list(metrics), MAX_METRICS):
            self._post("runs/log-batch", {"run_id": run_id, "metrics": [metric.fields() for metric in some]})
        for pairs in _pairs_of(params or {}, MAX_PARAMS):
            self._post("runs/log-batch", {"run_id": run_id, "params": pairs})
        for pairs in _pairs_of(tags or {}, MAX_TAGS):
            self._post("runs/log-batch", {"run_id": run_id, "tags": pairs})

    def delete_tag(self, run_id: str, tag: str) -> None:
        """Take a tag away; that it is not there does no harm."""
        try:
            self._post("runs/delete-tag", {"run_id": run_id, "key": tag})
        except RefusedRequest as refused:
            if refused.code != MISSING:
                raise

    def update_run(self, run_id: str, status: str, end_ms: int | None) -> None:
        """Move the run to a state of MLflow's."""
        self._post("runs/update", {"run_id": run_id, "status": status, **({"end_time": end_ms} if end_ms else {})})

    def delete_run(self, run_id: str) -> None:
        self._post("runs/delete", {"run_id": run_id})

    def put_artifact(self, artifact_uri: str, path: str, file: Path, content_type: str) -> None:
        """Store a file at `path` below a run's `artifact_uri`. Raises FileNotFoundError, too."""
        root = urlsplit(artifact_uri)
        if root.scheme != "mlflow-artifacts":
            raise RefusedRequest(
                f"the artifacts of this MLflow server lie at {root.scheme}://, which only MLflow's own client reaches",
                400,
            )
        place = posixpath.join(root.path.lstrip("/"), path)
        url = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{quote(place)}"
        self._rest.put_file(url, file, content_type)

    def _post(self, path: str, said: Mapping[str, Any]) -> Any:
        return self._rest.post(f"{self.url}/api/2.0/mlflow/{path}", said)

    def _get(self, path: str, query: Mapping[str, str]) -> Any:
        return self._rest.get(f"{self.url}/api/2.0/mlflow/{path}", query)


class MLflowManager:
    """A few calls to an MLflow server, by `url`, else by ``MLFLOW_TRACKING_URI``, else at http://localhost:5002.

    Each raises `Outage` when the server cannot be reached, and `RefusedRequest` when it does not take what it got.
    """

    def __init__(self, url: str | None = None) -> None:
        environment = env.snapshot()
        self._rest = MlflowRest(url or environment.get(URL) or DEFAULT_URL, credentials(environment))

    def get_experiment(self, name: str) -> str:
        """The id of the experiment of this name, which is made where there is none."""
        return self._rest.experiment(name)

    def create_run(self, experiment_id: str, name: str = "") -> str:
        """The id of a new run."""
        return str(self._rest.create_run(experiment_id, name, _now_ms(), {})["info"]["run_id"])

    def log_metric(self, run_id: str, key: str, value: float, step: int = 0) -> None:
        """One value, as of now."""
        self._rest.log(run_id, metrics=[Metric(key, float(value), _now_ms(), step)])

    def log_param(self, run_id: str, key: str, value: object) -> None:
        """One parameter; another value than the one that it has is refused."""
        self._rest.log(run_id, params={key: str(value)})

    def log_artifact(self, run_id: str, path: str | Path, artifact_path: str = "") -> None:
        """A file, under its own name below `artifact_path`. Raises OSError."""
        file = Path(path)
        uri = self._rest.run(run_id)["info"]["artifact_uri"]
        self._rest.put_artifact(uri, posixpath.join(artifact_path, file.name), file, "application/octet-stream")

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        """End the run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._rest.update_run(run_id, status, _now_ms())

    def close(self) -> None:
        """Let go of connections. Calling twice is safe."""
        self._rest.close()


def credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The header that MLflow's variables ask for: a token, or else a name and a password."""
    if token := environment.get(TOKEN):
        return {"Authorization": f"Bearer {token}"}
    if (username := environment.get(USERNAME)) and (password := environment.get(PASSWORD)):
        return {"Authorization": f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"}
    return {}


def key_values(items: Mapping[str, str]) -> list[dict[str, str]]:
    """A map as MLflow writes it."""
    return [{"key": key, "value": value} for key, value in items.items()]


def _pairs_of(items: Mapping[str, str], most: int) -> Iterator[list[dict[str, str]]]:
    """As many at once as MLflow takes, by their count and by the bytes of the request."""
    some: list[dict[str, str]] = []
    room = MAX_PAIRS_BYTES
    for pair in key_values(items):
        size_bytes = len(json.dumps(pair))
        if some and (len(some) == most or size_bytes > room):
            yield some
            some, room = [], MAX_PAIRS_BYTES
        some.append(pair)
        room -= size_bytes
    if some:
        yield some


def _number(value: float) -> float | str:
    """As protobuf's JSON has it."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _run(answer: Any) -> dict[str, Any]:
    match answer:
        case {"run": {"info": {"run_id": str()}} as run}:
            return dict(run)
    raise Outage("an MLflow server answered something that is no run: is another program on that port?")


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
