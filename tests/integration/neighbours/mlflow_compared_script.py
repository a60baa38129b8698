"""The same life told to whatever MLFLOW_TRACKING_URI is, by the real client; what comes back is printed in JSON.

Ids and the clock's times are replaced by names, so that two stores that do the same print the same.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

FILTERS = [
    "metrics.acc > 0.5",
    "metrics.acc >= 0.5 and metrics.acc < 0.9",
    "metrics.acc != 0.5",
    "metrics.`with space` = 1",
    'metrics."with/slash" = 2',
    "params.model = 'ResNet'",
    "params.model != 'ResNet'",
    "params.model LIKE 'res%'",
    "params.model ILIKE 'res%'",
    "params.model LIKE '%e_'",
    "params.`dotted.name` = 'x'",
    "tags.team = 'blue'",
    "tags.team LIKE 'b%' AND metrics.acc > 0.2",
    "tags.mlflow.parentRunId != ''",
    "tags.`mlflow.note.content` = 'a [note]*'",
    "tags.`mlflow.note.content` LIKE '%[note]*'",
    "attributes.status = 'FINISHED'",
    "attributes.status != 'FINISHED'",
    "attribute.run_name ILIKE 'R%'",
    "attributes.run_name IN ('r1', 'r3')",
    "attributes.run_name NOT IN ('r1', 'r3')",
    "run_name = 'r2'",
    "status = 'FAILED'",
    "attributes.start_time > 2500",
    "attributes.end_time <= 3500",
    "attributes.user_id = 'ann'",
    "metrics.nan_last > 0",
    "params.absent = 'x'",
    "params.absent != 'x'",
    "params.model IS NULL",
    "params.model IS NOT NULL",
    "tags.team IS NULL",
    "metrics.acc > 'high'",
    "params.model > 'A'",
    "params.model = 5",
    "bogus.acc = 1",
    "attributes.bogus = '1'",
    "metrics.acc LIKE '0%'",
    "attributes.status = 'FINISHED' OR metrics.acc > 1",
    "metrics.acc",
    "dataset.name = 'train set'",
    "datasets.name != 'train set'",
    "dataset.name LIKE 'train%' AND dataset.context = 'eval'",
    "dataset.name ILIKE 'TEST%'",
    "dataset.digest IN ('d1', 'd2')",
    "dataset.digest NOT IN ('d1', 'd2')",
    "dataset.context = 'training' AND metrics.acc > 0.3",
    "dataset.name = 5",
    "dataset.name > 'a'",
    "dataset.source = 'x'",
    "params.model = 'it''s'",
    "params.path = 'C:\\new'",
    "params.path LIKE 'C:\\n%'",
    "params.path = 'end\\'",
    "params.path = 'it\\'s'",
    'params.model = "it\'s"',
]
ORDERS = [
    [],
    ["metrics.acc"],
    ["metrics.acc DESC"],
    ["params.model ASC", "attributes.start_time DESC"],
    ["params.model DESC"],
    ["tags.team desc", "run_name"],
    ["attributes.end_time DESC"],
    ["metrics.nan_last DESC"],
    ["metrics.nan_last"],
    ["status", "start_time"],
    ["bogus.acc"],
    ["metrics.acc SIDEWAYS"],
    ["dataset.name"],
]


def tried(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except MlflowException as error:
        return f"error {error.error_code}"


def shown(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def make_runs(client: MlflowClient, experiment: str) -> list[str]:
    """Five runs that differ in all that a filter may ask."""
    found: list[str] = []
    models = ["ResNet", "resnet", "it's", None, "Dense"]
    for number, model in enumerate(models):
        tags = {"mlflow.user": "ann" if number % 2 else "bob", "team": "blue" if number < 3 else "black"}
        if number == 4:
            del tags["team"]
            tags |= {"mlflow.parentRunId": found[0], "mlflow.note.content": "a [note]*"}
        run = client.create_run(experiment, start_time=1000 * (number + 1), tags=tags, run_name=f"r{number}")
        run_id = run.info.run_id
        found.append(run_id)
        params = [Param("dotted.name", "x")] if number == 1 else []
        metrics = [Metric("acc", [0.5, 0.25, 0.75, 0.9, 0.1][number], 10, 0)] if number != 2 else []
        metrics += [Metric("nan_last", [math.nan, math.inf, -math.inf, 2.0, -3.0][number], 10, 0)]
        metrics += [Metric("with space", 1.0, 10, 0), Metric("with/slash", float(number), 10, 0)]
        params += [Param("model", model)] if model is not None else []
        client.log_batch(run_id, metrics=metrics, params=params)
    used = [(0, "train set", "d1", "training"), (1, "train set", "d2", "eval"), (1, "test set", "d3", None)]
    used += [(3, "test set", "d3", "eval"), (3, "test set", "d3", "training"), (3, "test set", "d3", "eval")]
    for place, name, digest, context in used:
        told = [InputTag("mlflow.data.context", context)] if context is not None else []
        client.log_inputs(found[place], [DatasetInput(Dataset(name, digest, "local", "s", schema="{}"), told)])
    for place, path in enumerate(["C:\\new", "end\\", "it\\'s"]):
        client.log_param(found[place], "path", path)
    client.set_terminated(found[0], "FINISHED", end_time=3000)
    client.set_terminated(found[1], "FAILED", end_time=4000)
    client.set_terminated(found[2], "KILLED", end_time=3500)
    return found


def searches(client: MlflowClient, experiment: str) -> dict[str, Any]:
    def names(condition: str, order: list[str]) -> list[str]:
        return [str(run.info.run_name) for run in client.search_runs([experiment], condition, order_by=order)]

    return {
        **{text: tried(partial(names, text, [])) for text in FILTERS},
        **{str(order): tried(partial(names, "", order)) for order in ORDERS},
    }


def pages(client: MlflowClient, experiment: str) -> list[list[str]]:
    """All runs, two at a time."""
    found, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=2, order_by=["metrics.acc"], page_token=token)
        found.append([str(run.info.run_name) for run in page])
        token = page.token
        if not token:
            return found


def inputs(client: MlflowClient, experiment: str) -> dict[str, Any]:
    """The data sets of each run, as runs that are found tell of them."""
    return {
        str(run.info.run_name): sorted(
            [*vars(each.dataset).values(), *((tag.key, tag.value) for tag in each.tags)]
            for each in run.inputs.dataset_inputs
        )
        for run in client.search_runs([experiment])
        if run.inputs is not None
    }


def lasts(client: MlflowClient, experiment: str) -> dict[str, Any]:
    """Points that come out of order, at one step, at one time."""
    run_id = client.create_run(experiment).info.run_id
    series = {
        "back": [(1.0, 1, 5), (2.0, 2, 9), (3.0, 3, 4)],
        "same_step": [(1.0, 5, 3), (2.0, 9, 3), (3.0, 7, 3)],
        "same_time": [(4.0, 5, 3), (9.0, 5, 3), (2.0, 5, 3)],
        "negative": [(1.0, 1, -5), (2.0, 2, -9)],
        "twice": [(1.0, 1, 1), (1.0, 1, 1), (2.0, 1, 2)],
    }
    for name, points in series.items():
        for value, time_ms, step in points:
            client.log_metric(run_id, name, value, timestamp=time_ms, step=step)
    batch = [Metric(f"batch_{name}", *point) for name, points in series.items() for point in points]
    client.log_batch(run_id, metrics=batch)
    data = client.get_run(run_id).data

    def history(name: str) -> list[Any]:
        return sorted([p.step, p.timestamp, p.value] for p in client.get_metric_history(run_id, name))

    [searched] = client.search_runs([experiment], f"attributes.run_id = '{run_id}' and metrics.back = 2")
    return {
        "last": {name: shown(value) for name, value in sorted(data.metrics.items())},
        "searched": dict(sorted(searched.data.metrics.items())),
        "history": {name: history(name) for name in series if name != "twice"},
    }


def parameters(client: MlflowClient, experiment: str) -> dict[str, Any]:
    """Many, long, and too long."""
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_params({f"p{number:03}": number for number in range(520)})
        mlflow.log_param("long", "ü" * 6000)
        run_id = run.info.run_id
        found: dict[str, Any] = {
            "too_long": tried(lambda: client.log_param(run_id, "longer", "x" * 6001)),
            "long_key": tried(lambda: client.log_param(run_id, "k" * 251, "x")),
            "bad_key": tried(lambda: client.log_param(run_id, "a//../b", "x")),
            "changed": tried(lambda: client.log_batch(run_id, params=[Param("p000", "9"), Param("new", "1")])),
            "in_batch": tried(lambda: client.log_batch(run_id, params=[Param("two", "1"), Param("two", "2")])),
            "long_tag": tried(lambda: client.set_tag(run_id, "t", "x" * 8001)),
            "long_metric": tried(lambda: client.log_metric(run_id, "m" * 251, 1.0)),
        }
    params = client.get_run(run_id).data.params
    return {**found, "count": len(params), "long": len(params["long"]), "some": params["p519"], "new": "new" in params}


def nested(experiment: str) -> list[bool]:
    with mlflow.start_run(experiment_id=experiment, run_name="outer") as outer:
        mlflow.set_tag("mlflow.autologging", "sklearn")
        with mlflow.start_run(experiment_id=experiment, run_name="inner", nested=True) as inner:
            mlflow.log_metric("x", 1.0)
    parent = outer.info.run_id
    [found] = mlflow.search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{parent}' AND attributes.run_name = 'inner'", output_format="list"
    )
    [auto] = mlflow.search_runs([experiment], "tags.mlflow.autologging = 'sklearn'", output_format="list")
    return [found.info.run_id == inner.info.run_id, auto.info.run_id == parent]


def artifacts(client: MlflowClient, experiment: str) -> dict[str, Any]:
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_text("a text", "texts/a.txt")
        mlflow.log_text("<p>ü</p>", "texts/b.html")
        mlflow.log_dict({"a": [1, {"b": None}]}, "dicts/a.json")
        mlflow.log_dict({"a": [1, 2]}, "dicts/a.yaml")
    root = f"runs:/{run.info.run_id}"
    return {
        "listed": [item.path for item in client.list_artifacts(run.info.run_id)],
        "below": [(item.path, item.is_dir, item.file_size) for item in client.list_artifacts(run.info.run_id, "texts")],
        "texts": [mlflow.artifacts.load_text(f"{root}/texts/{name}") for name in ("a.txt", "b.html")],
        "dicts": [mlflow.artifacts.load_dict(f"{root}/dicts/a.json")],
        "yaml": mlflow.artifacts.load_text(f"{root}/dicts/a.yaml"),
    }


def experiments(client: MlflowClient) -> dict[str, Any]:
    """A deleted one, and back again."""
    number = client.create_experiment("comes and goes", tags={"k": "v"})
    run_id = client.create_run(number, run_name="kept").info.run_id

    def names(view: int) -> list[str]:
        return sorted(str(each.name) for each in client.search_experiments(view_type=view))

    client.delete_experiment(number)
    found: dict[str, Any] = {
        "stage": client.get_experiment(number).lifecycle_stage,
        "active": names(ViewType.ACTIVE_ONLY),
        "deleted": names(ViewType.DELETED_ONLY),
        "all": names(ViewType.ALL),
        "again": tried(lambda: client.create_experiment("comes and goes")),
        "run_in_it": tried(lambda: client.create_run(number)),
        "run_stage": client.get_run(run_id).info.lifecycle_stage,
        "log_in_it": tried(lambda: client.log_metric(run_id, "x", 1.0)),
        "set": tried(lambda: mlflow.set_experiment("comes and goes")),
    }
    client.restore_experiment(number)
    found["restored"] = [client.get_experiment(number).lifecycle_stage, client.get_run(run_id).info.lifecycle_stage]
    client.log_batch(run_id, metrics=[Metric("x", 2.0, 1, 1)], tags=[RunTag("a", "b")])
    client.delete_run(run_id)
    found |= {
        "log_deleted": tried(lambda: client.log_metric(run_id, "x", 1.0, timestamp=5)),
        "found": [each.info.run_name for each in client.search_runs([number])],
        "found_deleted": [each.info.run_name for each in client.search_runs([number], "", ViewType.DELETED_ONLY)],
        "delete_again": tried(lambda: client.delete_run(run_id)),
        "by_filter": [each.name for each in client.search_experiments(filter_string="name LIKE 'comes%'")],
        "by_tag": [each.name for each in client.search_experiments(filter_string="tags.k = 'v'")],
        "ordered": [each.name for each in client.search_experiments(order_by=["name DESC"])],
    }
    return found


def models(client: MlflowClient, experiment: str) -> dict[str, Any]:
    """Logged, loaded, searched and deleted."""
    run_id = client.create_run(experiment, run_name="maker").info.run_id
    new = client.create_logged_model(
        experiment,
        name="net",
        source_run_id=run_id,
        model_type="plain",
        params={"lr": "0.1"},
        tags={"k": "v", "z": "1"},
    )
    Path("weights.bin").write_bytes(bytes(range(256)))
    client.log_model_artifact(new.model_id, "weights.bin")
    client.log_outputs(run_id, [LoggedModelOutput(new.model_id, 2)])
    client.log_model_params(new.model_id, {"depth": "3"})
    client.set_logged_model_tags(new.model_id, {"k": "w"})
    client.delete_logged_model_tag(new.model_id, "z")
    ready = client.finalize_logged_model(new.model_id, "READY")
    client.create_logged_model(experiment, name="other", source_run_id=run_id)

    def names(condition: str) -> list[str]:
        return sorted(str(each.name) for each in client.search_logged_models([experiment], filter_string=condition))

    seen = client.get_logged_model(new.model_id)
    outputs = client.get_run(run_id).outputs
    found: dict[str, Any] = {
        "stages": [str(new.status), str(ready.status)],
        "seen": [
            seen.name,
            seen.model_type,
            seen.params,
            seen.source_run_id == run_id,
            seen.tags["k"],
            "z" in seen.tags,
        ],
        "outputs": [(each.model_id == new.model_id, each.step) for each in (outputs.model_outputs if outputs else [])],
        "files": [(item.path, item.file_size) for item in client.list_logged_model_artifacts(new.model_id)],
        "bytes": Path(mlflow.artifacts.download_artifacts(f"models:/{new.model_id}"), "weights.bin").read_bytes().hex(),
        "searched": {
            text: tried(partial(names, text))
            for text in ("", "name = 'net'", f"source_run_id = '{run_id}' AND params.depth = '3'", "tags.k = 'v'")
        },
        "ordered": [
            each.name
            for each in client.search_logged_models([experiment], order_by=[{"field_name": "name", "ascending": False}])
        ],
        "no_model": tried(lambda: client.get_logged_model("m-none")),
    }
    found["searched"] = list(found["searched"].values())
    client.delete_logged_model(new.model_id)
    return {**found, "deleted": [tried(lambda: client.get_logged_model(new.model_id)), names("")]}


def main() -> None:
    client = MlflowClient()
    first = client.create_experiment("first")
    make_runs(client, first)
    second = client.create_experiment("second")
    found = {
        "searches": searches(client, first),
        "pages": pages(client, first),
        "inputs": inputs(client, first),
        "lasts": lasts(client, second),
        "parameters": parameters(client, second),
        "nested": nested(second),
        "artifacts": artifacts(client, second),
        "models": models(client, second),
        "experiments": experiments(client),
    }
    print(json.dumps(found))


main()
