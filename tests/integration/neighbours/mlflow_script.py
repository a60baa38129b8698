"""The real MLflow client: logs to the server of MLFLOW_TRACKING_URI, reads it back, and tells of both in JSON."""

import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

NUMBERS = [1.0, 0.1 + 0.2, -2.5e-300, 1.7976931348623157e308, math.nan, math.inf, -math.inf, 7.0]


def exact(value: float) -> str:
    return "NaN" if math.isnan(value) else struct.pack(">d", value).hex()


def code_of(act: Any, *arguments: Any) -> str:
    try:
        act(*arguments)
    except MlflowException as error:
        return str(error.error_code)
    return "none"


def log_all() -> str:
    with mlflow.start_run(run_name="a run", tags={"team": "blue"}) as run:
        mlflow.log_params({"lr": 0.1, "net/depth": 2, "nothing": None})
        for step, value in enumerate(NUMBERS):
            mlflow.log_metric("loss", value, step=step)
        mlflow.log_metrics({"a": 1.5, "b": 2.5}, step=4)
        mlflow.log_metric("unstepped", 1.0)
        mlflow.log_metric("unstepped", 2.0)
        mlflow.set_tags({"team": "red", "gone": "soon"})
        mlflow.delete_tag("gone")
        mlflow.log_text("words with ünicode", "notes/words.txt")
        mlflow.log_dict({"a": [1, 2]}, "config.json")
        return str(run.info.run_id)


def search(client: MlflowClient, experiment_id: str) -> dict[str, Any]:
    other = client.create_run(experiment_id, run_name="other")
    client.log_batch(
        other.info.run_id,
        metrics=[Metric("loss", 0.5, 1000, 0), Metric("a", 9.0, 1000, 0)],
        params=[Param("lr", "0.2")],
        tags=[RunTag("team", "green")],
    )
    client.set_terminated(other.info.run_id, "FAILED")

    def names(condition: str, order: list[str] | None = None) -> list[str]:
        found = client.search_runs([experiment_id], condition, order_by=order)
        return [str(run.info.run_name) for run in found]

    return {
        "by_metric": names("metrics.a > 2"),
        "by_param": names("params.lr = '0.1' and metrics.a < 2"),
        "by_tag": names("tags.team IN ('red', 'black')"),
        "by_status": names("attributes.status = 'FAILED'"),
        "like": names("attributes.run_name ILIKE 'A%'"),
        "ordered": names("", ["metrics.a DESC"]),
        "ordered_up": names("", ["metrics.a ASC"]),
        "paged": len(client.search_runs([experiment_id], max_results=1)),
        "bad_filter": code_of(client.search_runs, [experiment_id], "metrics.a >"),
    }


def main() -> None:
    client = MlflowClient()
    experiment = mlflow.set_experiment("an experiment")
    run_id = log_all()
    run = client.get_run(run_id)
    found = {
        "run_id": run_id,
        "info": [run.info.run_name, run.info.status, run.info.experiment_id == experiment.experiment_id],
        "ended": run.info.end_time >= run.info.start_time,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
        "last": {name: exact(value) for name, value in run.data.metrics.items()},
        "loss": [(point.step, exact(point.value)) for point in client.get_metric_history(run_id, "loss")],
        "unstepped": [point.value for point in client.get_metric_history(run_id, "unstepped")],
        "sent": [exact(value) for value in NUMBERS],
        "artifacts": [item.path for item in client.list_artifacts(run_id)],
        "notes": [(item.path, item.file_size) for item in client.list_artifacts(run_id, "notes")],
        "words": mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/words.txt"),
        "dict": json.loads(Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/config.json")).read_text()),
        "param_again": code_of(client.log_param, run_id, "lr", "0.9"),
        "no_run": code_of(client.get_run, "f" * 32),
        "no_experiment": code_of(client.get_experiment, "999999"),
        "experiment_again": code_of(client.create_experiment, "an experiment"),
    }
    if sys.argv[1:] != ["--logging-only"]:
        found["search"] = search(client, experiment.experiment_id)
    client.delete_run(run_id)
    found["after_delete"] = [
        each.info.run_id for each in client.search_runs([experiment.experiment_id], "metrics.a < 2")
    ]
    client.restore_run(run_id)
    found["after_restore"] = [
        each.info.run_id for each in client.search_runs([experiment.experiment_id], "metrics.a < 2")
    ]
    client.set_experiment_tag(experiment.experiment_id, "note", "x")
    client.rename_experiment(experiment.experiment_id, "renamed")
    again = client.get_experiment_by_name("renamed")
    assert again is not None
    found["experiment"] = [again.experiment_id == experiment.experiment_id, again.tags.get("note")]
    found["experiments"] = sorted(each.name for each in client.search_experiments())
    print(json.dumps(found))


main()
