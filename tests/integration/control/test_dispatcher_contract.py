"""The dispatcher's routes, exact paths and JSON, against the running server."""

from typing import Any

import orjson
import pytest

from flashtrial.protocol.records import encode_record
from flashtrial.protocol.trials import ExperimentStatus, Progress, TrialStatus
from testkit.control import Experiment, agree, begun, controller, dispatcher
from testkit.tracking_server import Answer, TrackingClient, metric

pytestmark = pytest.mark.integration

DEEP = orjson.loads("[" * 65 + "]" * 65)
RUN_VIEW = frozenset(
    [
        "run_id",
        "run_name",
        "status",
        "current_chunk",
        "current_epoch",
        "num_chunks_visited",
        "num_epochs_completed",
        "completed_steps",
        "total_steps",
        "metrics",
        "config_leaf",
        "config",
        "full_config",
        "flattened_config",
        "source",
        "parent_run_id",
        "warm_start",
        "metric_run_id",
        "error",
        "ended_by",
        "progress",
        "reason",
    ]
)


def _run(server: TrackingClient, run_id: object) -> dict[str, Any]:
    answer = dispatcher(server, "get-run", {"run_id": run_id})
    assert answer.status == 200, answer.body
    view: dict[str, Any] = answer.json()
    return view


def _assert_error(answer: Answer, status: int, error: str) -> None:
    assert (answer.status, answer.json()) == (status, {"error": error})


def test_the_health_check_is_the_documented_string(server: TrackingClient) -> None:
    answer = dispatcher(server, "health-check")
    assert (answer.status, answer.body) == (200, b'"Dispatcher is up and running"')


def test_a_server_without_experiments_answers_with_nothing(own_server: TrackingClient) -> None:
    assert dispatcher(own_server, "get-all-runs").json() == []
    assert dispatcher(own_server, "get-all-experiment-names").json() == []
    assert dispatcher(own_server, "all-operations").json() == []
    assert dispatcher(own_server, "get-ic-logs", {}).json() == []
    assert dispatcher(own_server, "get-experiment-logs", {}).json() == []
    _assert_error(dispatcher(own_server, "get-running-experiment"), 404, "no experiment is running")


def test_a_run_is_shown_whole(experiment: Experiment) -> None:
    progress = Progress(current_chunk=2, num_chunks_visited=2, completed_steps=25, total_steps=100)
    experiment.tell_trial(1, TrialStatus.RUNNING, progress=progress)
    experiment.record(experiment.run_of(1), metric(2001, {"loss": 0.5}), metric(2002, {"bad": float("nan")}))
    view = _run(experiment.server, 1)
    assert view.keys() == RUN_VIEW
    assert (view["run_id"], view["run_name"], view["status"], view["source"]) == (1, "run_1", "ONGOING", "USER")
    assert orjson.loads(view["metrics"]) == {"loss": 0.5, "bad": "NaN"}
    assert view["flattened_config"] == {"lr": 0.1, "model.depth": 2}
    assert view["config"] == view["full_config"] == view["config_leaf"] == {"lr": 0.1, "model": {"depth": 2}}
    assert (view["completed_steps"], view["total_steps"], view["progress"]) == (25, 100, 0.25)
    assert (view["metric_run_id"], view["ended_by"], view["error"]) == (experiment.run_of(1), None, None)


def test_a_clone_names_its_parent(experiment: Experiment) -> None:
    experiment.tell_trial(900, TrialStatus.CREATED, parent_run_id=1, warm_start=True, config_leaf={"lr": 3})
    view = _run(experiment.server, 900)
    assert (view["source"], view["parent_run_id"], view["warm_start"]) == ("CLONE_MODIFY", 1, True)
    assert (view["config_leaf"], view["config"]) == ({"lr": 3}, {})


@pytest.mark.parametrize(
    ("status", "shown", "ended_by", "error"),
    [
        (TrialStatus.CREATED, "NEW", None, None),
        (TrialStatus.RUNNING, "ONGOING", None, None),
        (TrialStatus.PAUSED, "ONGOING", None, None),
        (TrialStatus.STOPPED, "STOPPED", "STOPPED", None),
        (TrialStatus.FINISHED, "COMPLETED", "COMPLETED", None),
        (TrialStatus.FAILED, "FAILED", "FAILED", "why"),
        (TrialStatus.DELETED, "KILLED", "KILLED", None),
        (TrialStatus.PRUNED, "STOPPED", "STOPPED", None),
        (TrialStatus.LOST, "FAILED", "FAILED", "why"),
    ],
)
def test_statuses_are_the_documented_ones(
    experiment: Experiment, status: TrialStatus, shown: str, ended_by: str | None, error: str | None
) -> None:
    experiment.tell_trial(1, status, reason="why")
    view = _run(experiment.server, 1)
    assert (view["status"], view["ended_by"], view["error"], view["reason"]) == (shown, ended_by, error, "why")


def test_all_runs_are_those_of_the_current_experiment_or_the_named_one(own_server: TrackingClient) -> None:
    first, second = begun(own_server, "one/with a slash"), begun(own_server, "two")
    second.tell_trial(5, TrialStatus.CREATED)
    assert [run["run_id"] for run in dispatcher(own_server, "get-all-runs").json()] == [1, 5]
    assert [run["run_id"] for run in dispatcher(own_server, "get-all-runs?limit=1&offset=1").json()] == [5]
    named = dispatcher(own_server, "get-all-runs?experiment_name=one/with%20a%20slash").json()
    assert [run["metric_run_id"] for run in named] == [first.run_of(1)]
    assert dispatcher(own_server, "get-all-runs?experiment_name=nobody").json() == []
    assert dispatcher(own_server, "get-all-experiment-names").json() == ["two", "one/with a slash"]
    second.tell(ExperimentStatus.FINISHED)
    assert [run["metric_run_id"] for run in dispatcher(own_server, "get-all-runs").json()] == [first.run_of(1)]
    assert _run(own_server, 1)["metric_run_id"] == first.run_of(1)


def test_experiments_are_shown_by_name_and_while_they_run(own_server: TrackingClient) -> None:
    experiment = begun(own_server, "a/b")
    experiment.tell(ExperimentStatus.RUNNING, mode="fit", config_options={"n": 1}, metric_experiment_id="7")
    shown = {
        "experiment_id": experiment.number,
        "experiment_name": "a/b",
        "status": "RUNNING",
        "error": None,
        "metric_experiment_id": "7",
        "experiment_mode": "fit",
    }
    assert dispatcher(own_server, "get-experiment-by-name/a/b").json() == shown
    assert dispatcher(own_server, "get-running-experiment").json() == {**shown, "config_options": {"n": 1}}
    assert dispatcher(own_server, "is-experiment-running", {"experiment_name": "a/b"}).json() == {"is_running": True}
    experiment.tell(ExperimentStatus.FAILED, error="out of memory")
    assert dispatcher(own_server, "is-experiment-running", {"experiment_name": "a/b"}).json() == {"is_running": False}
    found = dispatcher(own_server, "get-experiment-by-name/a/b").json()
    assert (found["status"], found["error"]) == ("FAILED", "out of memory")
    _assert_error(dispatcher(own_server, "get-running-experiment"), 404, "no experiment is running")
    _assert_error(dispatcher(own_server, "get-experiment-by-name/c"), 404, "there is no experiment 'c'")
    _assert_error(dispatcher(own_server, "is-experiment-running", {}), 400, "experiment_name is required")


CALLS = [
    ("stop-run", {}, "stop", {"message": "Stop request created successfully"}),
    ("resume-run", {}, "resume", {"message": "Resume request created successfully"}),
    ("delete-run", {}, "delete", {"message": "Delete request created successfully"}),
    (
        "clone-modify-run",
        {"config_leaf": {"lr": 1}, "warm_start": True},
        "clone-modify",
        {"message": "Clone-modify request created", "new_run_id": 5},
    ),
    (
        "clone-modify-run",
        {"config": {"lr": 1}},
        "clone-modify",
        {"message": "Clone-modify request created", "new_run_id": 5},
    ),
]


@pytest.mark.parametrize(("route", "more", "kind", "answered"), CALLS)
def test_a_control_call_is_answered_by_the_controllers_receipt(
    controlled: Experiment, route: str, more: dict[str, Any], kind: str, answered: dict[str, Any]
) -> None:
    judge = {"new_run_id": 5} if kind == "clone-modify" else {}
    with controller(controlled, lambda _: judge) as seen:
        answer = dispatcher(controlled.server, route, {"run_id": 1, **more})
    assert (answer.status, answer.json()) == (200, answered)
    (command,) = seen
    assert (command["kind"], command["run_id"]) == (kind, 1)
    assert (
        command["seen_version"]
        == controlled.server.get(f"/api/v1/experiments/{controlled.number}/trials/1").json()["version"]
    )
    assert (command["config"], command["warm_start"]) == ({"lr": 1} if more else None, more.get("warm_start", False))


def test_a_refusal_is_answered_by_its_kind(controlled: Experiment) -> None:
    for refusal, status in (("illegal", 409), ("stale", 409), ("invalid", 400), ("unknown_trial", 404)):
        told = {"refusal": refusal, "reason": f"it is {refusal}"}
        with controller(controlled, lambda _, told=told: told):  # type: ignore[misc]
            _assert_error(dispatcher(controlled.server, "stop-run", {"run_id": "1"}), status, f"it is {refusal}")


def test_without_a_controller_a_call_is_503_and_withdrawn_for_good(experiment: Experiment) -> None:
    _assert_error(dispatcher(experiment.server, "stop-run", {"run_id": 1}), 503, "controller not connected")
    assert experiment.inbox().json()["commands"] == []
    (operation,) = dispatcher(experiment.server, "all-operations").json()
    command = experiment.server.get(f"/api/v1/commands?experiment={experiment.number}").json()["commands"][0]
    assert command["state"] in ("withdrawn", "expired")
    assert (operation["ic_id"], operation["operation"], operation["status"]) == (command["number"], "stop", "FAILED")
    assert operation["error"] in ("withdrawn", "expired")
    assert experiment.receipt(command["id"]).status == 409


@pytest.mark.parametrize("route", ["stop-run", "resume-run", "delete-run", "clone-modify-run", "get-run"])
@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 400, "run_id is required"),
        ({"run_id": "x"}, 400, "run_id is a number from 1 on"),
        ({"run_id": True}, 400, "run_id is a number from 1 on"),
        ({"run_id": 0}, 400, "run_id is a number from 1 on"),
        ([], 400, "the body is not a map"),
        ({"run_id": 4_000_000, "config": {}}, 404, "there is no run 4000000"),
    ],
)
def test_a_run_that_is_not_named_or_not_there_is_said_so(
    server: TrackingClient, route: str, body: object, status: int, error: str
) -> None:
    _assert_error(dispatcher(server, route, body), status, error)


@pytest.mark.parametrize("more", [{}, {"config": 1}, {"config": {"x": DEEP}}, {"config": {}, "warm_start": 1}])
def test_a_clone_that_cannot_be_is_400(experiment: Experiment, more: dict[str, Any]) -> None:
    answer = dispatcher(experiment.server, "clone-modify-run", {"run_id": 1, **more})
    assert answer.status == 400
    assert answer.json().keys() == {"error"}


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"run_id": 1', b"[" * 5000])
def test_a_body_that_is_not_json_is_400(server: TrackingClient, body: bytes) -> None:
    _assert_error(server.request("POST", "/dispatcher/stop-run", body), 400, "the body is not JSON")


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "limit=1001", "offset=99999999999999999999"])
def test_a_page_that_cannot_be_is_400(server: TrackingClient, query: str) -> None:
    assert dispatcher(server, f"get-all-runs?{query}").status == 400


def test_what_became_of_control_calls_is_told_in_lines(controlled: Experiment) -> None:
    with controller(controlled, agree):
        dispatcher(controlled.server, "stop-run", {"run_id": 1})
    with controller(controlled, lambda _: {"refusal": "illegal", "reason": "it is stopped"}):
        dispatcher(controlled.server, "stop-run", {"run_id": 1})
    lines = [
        line.partition(" | ")[2]
        for line in dispatcher(controlled.server, "get-ic-logs", {"experiment_name": controlled.name}).json()
    ]
    assert lines == [
        "stop of run 1: asked for",
        "stop of run 1: done",
        "stop of run 1: asked for",
        "stop of run 1: refused (it is stopped)",
    ]
    done = dispatcher(controlled.server, f"all-operations?experiment_name={controlled.name}").json()[1]
    assert (done["run_id"], done["status"], done["error"]) == (1, "COMPLETED", None)
    assert done["created_at"] <= done["processed_at"]


def test_the_experiments_log_is_what_its_controller_printed(experiment: Experiment) -> None:
    lines = [
        encode_record(3000 + line, "console", line, {"stream": "stdout", "line": line, "text": f"line {line}"})
        for line in range(1, 4)
    ]
    experiment.record(f"{experiment.name}/controller", *lines)
    body = {"experiment_name": experiment.name}
    assert dispatcher(experiment.server, "get-experiment-logs", body).json() == ["line 1", "line 2", "line 3"]
    assert dispatcher(experiment.server, "get-experiment-logs?limit=1&offset=1", body).json() == ["line 2"]
    assert dispatcher(experiment.server, "get-experiment-logs", {"experiment_name": "nobody"}).json() == []


@pytest.mark.parametrize(("method", "route", "status"), [("GET", "dance", 404), ("GET", "stop-run", 405)])
def test_routes_and_methods_that_are_not_there_are_errors_in_json(
    server: TrackingClient, method: str, route: str, status: int
) -> None:
    answer = server.request(method, f"/dispatcher/{route}")
    assert answer.status == status
    assert isinstance(answer.json()["error"], str)
