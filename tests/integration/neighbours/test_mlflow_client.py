"""The unmodified MLflow client against our server: what it logs is there, and it reads and searches all of it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flashtrial.protocol.records import Batch
from testkit.neighbours import mlflow_variables, told, url_of
from testkit.tracking_server import TrackingClient, metric, state, tracking_server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

SCRIPT = Path(__file__).parent / "mlflow_script.py"


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingClient]:
    with tracking_server(tmp_path_factory.mktemp("mlflow-client") / "server-home") as client:
        yield client


@pytest.fixture(scope="module")
def said(module_server: TrackingClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client told; it ran once."""
    folder = tmp_path_factory.mktemp("mlflow-work")
    found: dict[str, Any] = told(sys.executable, SCRIPT, folder, mlflow_variables(url_of(module_server)))
    return found


def test_every_number_comes_back_to_the_last_bit(said: dict[str, Any]) -> None:
    assert said["loss"] == [[step, value] for step, value in enumerate(said["sent"])]
    assert said["last"]["loss"] == said["sent"][-1]
    assert said["unstepped"] == [1.0, 2.0]


def test_the_run_is_as_it_was_told(said: dict[str, Any]) -> None:
    assert said["info"] == ["a run", "FINISHED", True]
    assert said["ended"]
    assert said["params"] == {"lr": "0.1", "net/depth": "2", "nothing": "None"}
    assert said["tags"] == {"team": "red"}


def test_artifacts_come_back_byte_for_byte(said: dict[str, Any]) -> None:
    assert said["artifacts"] == ["config.json", "notes"]
    assert said["notes"] == [["notes/words.txt", len("words with ünicode".encode())]]
    assert (said["words"], said["dict"]) == ("words with ünicode", {"a": [1, 2]})


def test_searches_filter_order_and_page(said: dict[str, Any]) -> None:
    assert said["search"] == {
        "by_metric": ["other"],
        "by_param": ["a run"],
        "by_tag": ["a run"],
        "by_status": ["other"],
        "like": ["a run"],
        "ordered": ["other", "a run"],
        "ordered_up": ["a run", "other"],
        "paged": 1,
        "bad_filter": "INVALID_PARAMETER_VALUE",
    }


def test_errors_have_mlflows_codes(said: dict[str, Any]) -> None:
    assert said["param_again"] == "INVALID_PARAMETER_VALUE"
    assert said["no_run"] == said["no_experiment"] == "RESOURCE_DOES_NOT_EXIST"
    assert said["experiment_again"] == "RESOURCE_ALREADY_EXISTS"


def test_runs_are_deleted_and_restored_and_experiments_renamed(said: dict[str, Any]) -> None:
    assert said["after_delete"] == []
    assert said["after_restore"] == [said["run_id"]]
    assert said["experiment"] == [True, "x"]
    assert said["experiments"] == ["Default", "renamed"]


def test_the_dashboard_shows_the_run_and_its_experiment_as_project(
    said: dict[str, Any], module_server: TrackingClient
) -> None:
    run = module_server.get(f"/api/v1/runs/{said['run_id']}").json()
    assert (run["project"], run["name"], run["status"], run["tags"]) == (
        "an experiment",
        "a run",
        "finished",
        ["team=red"],
    )
    assert run["config"]["lr"] == "0.1"


def test_bulk_interval_gives_the_points_of_several_runs_between_steps(
    said: dict[str, Any], module_server: TrackingClient
) -> None:
    path = f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={said['run_id']}&metric_key=loss"
    found = module_server.get(f"{path}&start_step=3&end_step=5&max_results=100").json()["metrics"]
    assert [(point["step"], point["value"], point["run_id"]) for point in found] == [
        (3, 1.7976931348623157e308, said["run_id"]),
        (4, "NaN", said["run_id"]),
        (5, "Infinity", said["run_id"]),
    ]


def test_runs_of_our_own_clients_are_experiments_and_runs_too(server: TrackingClient) -> None:
    opening = state(1, "running", project="ours", name="native", config={"net": {"depth": 2}}, tags=["k=v"])
    server.ingest(Batch("run_native", "w1", opening + metric(2, {"loss": 0.5}, step=3)))
    [experiment] = server.get("/api/2.0/mlflow/experiments/get-by-name?experiment_name=ours").json().values()
    body = f'{{"experiment_ids": ["{experiment["experiment_id"]}"], "filter": "metrics.loss = 0.5"}}'.encode()
    headers = {"Content-Type": "application/json"}
    [run] = server.request("POST", "/api/2.0/mlflow/runs/search", body, headers).json()["runs"]
    assert run["info"]["run_id"] == "run_native"
    assert run["data"]["metrics"] == [{"key": "loss", "value": 0.5, "timestamp": 2000, "step": 3}]
    assert run["data"]["params"] == [{"key": "net/depth", "value": "2"}]
    assert {"key": "k", "value": "v"} in run["data"]["tags"]


def test_paths_that_leave_their_run_are_refused(said: dict[str, Any], module_server: TrackingClient) -> None:
    for path in ("1/../../server.db", f"1/{said['run_id']}/artifacts/%2e%2e/%2e%2e/server.db", "1/x/artifacts/y"):
        answer = module_server.get(f"/api/2.0/mlflow-artifacts/artifacts/{path}")
        assert answer.status in (400, 404), path
        assert answer.json()["error_code"]
