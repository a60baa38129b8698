"""MLflow's REST by hand: what its own server answers to the same, and what its clients never send."""

import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from flashtrial.protocol.records import Batch
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.runs import Runs
from flashtrial.server.storage import logged
from flashtrial.server.storage.columns import Columns
from flashtrial.server.storage.gaps import Gaps
from flashtrial.server.storage.logged import BEGINNING
from flashtrial.server.storage.point_store import SEAL_POINTS
from testkit.tracking_server import Answer, TrackingClient, metric, state

pytestmark = pytest.mark.integration

MLFLOW = "/api/2.0/mlflow"


def post(server: TrackingClient, path: str, **said: object) -> Answer:
    return server.request("POST", f"{MLFLOW}/{path}", json.dumps(said).encode(), {"Content-Type": "application/json"})


def get(server: TrackingClient, path: str, **asked: object) -> Answer:
    return server.get(f"{MLFLOW}/{path}?{urlencode(asked, doseq=True)}")


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json().get("error_code", "")


def test_a_history_comes_in_pages_every_point_once(server: TrackingClient) -> None:
    own = [metric(n, {"loss": float(n)}, step=n % 7) for n in range(2, 12)]
    others = [metric(n, {"loss": float(-n)}, step=n) for n in range(1, 6)]
    server.ingest(Batch("run_paged", "w1", state(1, "running", project="p") + b"".join(own)))
    server.ingest(Batch("run_paged", "w2", b"".join(others)))
    found: list[Any] = []
    token = ""
    while not found or token:
        page = get(
            server, "metrics/get-history", run_id="run_paged", metric_key="loss", max_results=4, page_token=token
        ).json()
        assert 0 < len(page["metrics"]) <= 4
        found += page["metrics"]
        token = page.get("next_page_token", "")
    values = sorted(point["value"] for point in found)
    assert values == sorted([*map(float, range(2, 12)), *(float(-n) for n in range(1, 6))])
    whole = get(server, "metrics/get-history", run_id="run_paged", metric_key="loss").json()
    assert sorted(whole["metrics"], key=str) == sorted(found, key=str)
    order = [(point["timestamp"], point["step"], point["value"]) for point in whole["metrics"]]
    assert (order, "next_page_token" in whole) == (sorted(order), False)
    for bad in ("x", "1", "1.x", "-1.2", "1.2.3"):
        answer = get(server, "metrics/get-history", run_id="run_paged", metric_key="loss", page_token=bad)
        assert code(answer) == (400, "INVALID_PARAMETER_VALUE"), bad
    far = get(server, "metrics/get-history", run_id="run_paged", metric_key="loss", page_token=f"{'9' * 19}.{'9' * 19}")
    assert (far.status, far.json()) == (200, {"metrics": []})


def test_a_history_that_is_read_while_points_move_into_a_block_has_every_point_once(
    server: TrackingClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log(*numbers: int) -> None:
        server.ingest(Batch("live", "w1", b"".join(metric(n, {"loss": float(n)}, step=n) for n in numbers)))

    class SealedMeanwhile(Gaps):
        def rows(self, key: Hashable, pieces: Iterable[bytes]) -> Columns:
            tail = super().rows(key, pieces)
            log(*range(SEAL_POINTS, SEAL_POINTS + 9))
            return tail

    log(*range(1, SEAL_POINTS))
    monkeypatch.setattr(logged, "Gaps", SealedMeanwhile)
    runs = Runs(tmp_path / "server-home" / "server.db", Ledger(tmp_path / "neighbours.db"))
    page, more = runs.logged("live", "loss", BEGINNING, None)
    assert (sorted(page.seqs.tolist()), more) == (list(range(1, SEAL_POINTS)), None)


INVALID, MISSING = (400, "INVALID_PARAMETER_VALUE"), (404, "RESOURCE_DOES_NOT_EXIST")
DATASET = {"dataset": {"name": "n", "digest": "d", "source_type": "local", "source": "s"}}
# Path, what is said, and the answer; RUN and EXPERIMENT stand for ones that there are, GONE… for deleted ones.
REFUSED: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
    ("experiments/create", {}, INVALID),
    ("experiments/update", {"experiment_id": "EXPERIMENT"}, INVALID),
    ("experiments/update", {"experiment_id": "EXPERIMENT", "new_name": "Default"}, (400, "RESOURCE_ALREADY_EXISTS")),
    ("experiments/update", {"experiment_id": "GONE-EXPERIMENT", "new_name": "new"}, (400, "INVALID_STATE")),
    ("experiments/update", {"experiment_id": "word", "new_name": "new"}, INVALID),
    ("experiments/delete", {"experiment_id": "GONE-EXPERIMENT"}, MISSING),
    ("experiments/restore", {"experiment_id": "EXPERIMENT"}, MISSING),
    ("experiments/set-experiment-tag", {"experiment_id": "EXPERIMENT", "value": "v"}, INVALID),
    ("experiments/set-experiment-tag", {"experiment_id": "GONE-EXPERIMENT", "key": "k", "value": "v"}, INVALID),
    ("experiments/delete-experiment-tag", {"experiment_id": "EXPERIMENT", "key": "none"}, MISSING),
    ("runs/create", {"experiment_id": "word"}, INVALID),
    ("runs/create", {"experiment_id": "EXPERIMENT", "run_name": 5}, INVALID),
    (
        "runs/create",
        {"experiment_id": "EXPERIMENT", "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]},
        INVALID,
    ),
    ("runs/update", {"status": "FINISHED"}, INVALID),
    ("runs/delete", {}, INVALID),
    ("runs/log-batch", {}, INVALID),
    ("runs/log-batch", {"run_id": "RUN", "metrics": [{"key": "a", "value": 1}]}, INVALID),
    ("runs/log-metric", {"run_id": "RUN", "key": "a", "value": 1}, INVALID),
    ("runs/log-metric", {"run_id": "RUN", "key": "a", "value": "high", "timestamp": 1}, INVALID),
    ("runs/log-parameter", {"run_id": "RUN", "value": "b"}, INVALID),
    ("runs/set-tag", {"run_id": "RUN"}, INVALID),
    ("runs/delete-tag", {"run_id": "RUN"}, INVALID),
    ("runs/log-inputs", {"datasets": [DATASET]}, INVALID),
    ("runs/log-inputs", {"run_id": "RUN", "datasets": "n"}, INVALID),
    ("runs/log-inputs", {"run_id": "GONE-RUN", "datasets": [DATASET]}, INVALID),
    ("runs/search", {"experiment_ids": "EXPERIMENT"}, INVALID),
    ("runs/search", {"experiment_ids": ["EXPERIMENT"], "max_results": 0}, INVALID),
    ("runs/search", {"experiment_ids": ["EXPERIMENT"], "page_token": "x"}, INVALID),
    ("runs/search", {"experiment_ids": ["EXPERIMENT"], "filter": "dataset.source = 's'"}, INVALID),
    ("logged-models", {"experiment_id": "EXPERIMENT", "name": "m"}, INVALID),
    ("logged-models/search", {"experiment_ids": ["EXPERIMENT"], "order_by": 5}, INVALID),
    ("logged-models", {"experiment_id": "EXPERIMENT", "source_run_id": "GONE-RUN"}, INVALID),
    ("logged-models/m-1-RUN/params", {"params": []}, MISSING),
    ("logged-models/none/params", {"params": []}, MISSING),
    ("runs/outputs", {"run_id": "RUN", "models": "m"}, INVALID),
    ("runs/log-model", {"run_id": "RUN", "model_json": "{"}, INVALID),
]


def test_what_is_refused_and_with_which_code_is_as_at_mlflows_own_server(server: TrackingClient) -> None:
    names = {name: post(server, "experiments/create", name=name).json()["experiment_id"] for name in ("kept", "gone")}
    runs = [post(server, "runs/create", experiment_id=names["kept"], start_time=n).json()["run"] for n in (1, 2)]
    run, gone = (each["info"]["run_id"] for each in runs)
    assert post(server, "experiments/delete", experiment_id=names["gone"]).status == 200
    assert post(server, "runs/delete", run_id=gone).status == 200
    meant = {"EXPERIMENT": names["kept"], "GONE-EXPERIMENT": names["gone"], "RUN": run, "GONE-RUN": gone}
    before = get(server, "runs/get", run_id=run).json()
    found = []
    for path, said, _ in REFUSED:
        words = json.loads(json.dumps(said), object_hook=lambda each: {k: _meant(v, meant) for k, v in each.items()})
        found.append((path, said, code(post(server, path, **words))))
    assert found == REFUSED
    assert get(server, "runs/get", run_id=run).json() == before


def _meant(value: object, meant: dict[str, str]) -> object:
    if isinstance(value, list):
        return [_meant(each, meant) for each in value]
    return meant.get(value, value) if isinstance(value, str) else value


def test_an_experiment_may_be_given_the_name_that_it_has(server: TrackingClient) -> None:
    assert post(server, "experiments/update", experiment_id="0", new_name="Default").status == 200


def test_an_experiments_tag_without_a_value_is_there_and_empty(server: TrackingClient) -> None:
    assert post(server, "experiments/set-experiment-tag", experiment_id="0", key="k").status == 200
    experiment = get(server, "experiments/get", experiment_id="0").json()["experiment"]
    assert experiment["tags"] == [{"key": "k", "value": ""}]


def test_a_value_that_is_a_number_in_words_is_a_number(server: TrackingClient) -> None:
    run = post(server, "runs/create", experiment_id="0", start_time=1).json()["run"]["info"]["run_id"]
    assert post(server, "runs/log-metric", run_id=run, key="a", value="1.5", timestamp="7").status == 200
    metrics = get(server, "runs/get", run_id=run).json()["run"]["data"]["metrics"]
    assert metrics == [{"key": "a", "value": 1.5, "timestamp": 7, "step": 0}]


@pytest.mark.parametrize("path", ["registered-models/create", "traces/search", "model-versions/create"])
def test_what_is_not_served_is_told_with_what_is(server: TrackingClient, path: str) -> None:
    answer = post(server, path, name="m")
    assert code(answer) == (404, "ENDPOINT_NOT_FOUND")
    assert path in answer.json()["message"]
    assert "experiments, runs, metrics" in answer.json()["message"]


def test_the_models_that_old_clients_log_stand_in_their_tag(server: TrackingClient) -> None:
    run = post(server, "runs/create", experiment_id="0", start_time=1).json()["run"]["info"]["run_id"]
    for path in ("a", "b"):
        info = json.dumps({"artifact_path": path})
        assert post(server, "runs/log-model", run_id=run, model_json=info).status == 200
    tags = {tag["key"]: tag["value"] for tag in get(server, "runs/get", run_id=run).json()["run"]["data"]["tags"]}
    assert json.loads(tags["mlflow.log-model.history"]) == [{"artifact_path": "a"}, {"artifact_path": "b"}]
