"""What controllers report in records: the newest of the controller in office is the state, and nothing else is."""

from typing import Any

import pytest

from flashtrial.protocol.records import encode_record
from flashtrial.protocol.trials import ExperimentStatus, Progress, TrialStatus
from testkit.control import Experiment
from testkit.tracking_server import metric

pytestmark = pytest.mark.integration


def _trial(experiment: Experiment, run_id: int = 1) -> dict[str, object]:
    answer = experiment.server.get(f"/api/v1/experiments/{experiment.number}/trials/{run_id}")
    assert answer.status == 200, answer.body
    trial: dict[str, object] = answer.json()
    return trial


def _view(experiment: Experiment) -> dict[str, object]:
    view: dict[str, object] = experiment.server.get(f"/api/v1/experiments/{experiment.number}").json()
    return view


def test_a_trial_has_the_config_and_the_last_values_of_the_run_that_it_tracks(experiment: Experiment) -> None:
    experiment.record(experiment.run_of(1), metric(1001, {"loss": 0.5}))
    trial = _trial(experiment)
    assert trial["tracked_run"] == experiment.run_of(1)
    assert trial["config"] == {"lr": 0.1, "model": {"depth": 2}}
    assert trial["summary"] == {"loss": 0.5}


def test_a_report_says_all_that_there_is_to_say(experiment: Experiment) -> None:
    progress = Progress(current_chunk=3, completed_steps=40, total_steps=100)
    facts: dict[str, Any] = {"parent_run_id": 1, "warm_start": True, "config_leaf": {"lr": 0.2}, "reason": "why not"}
    experiment.tell_trial(2, TrialStatus.STOPPED, progress=progress, tracked_run=experiment.run_of(1), **facts)
    trial = _trial(experiment, 2)
    assert {name: trial[name] for name in facts} == facts
    assert (trial["status"], trial["tracked_run"]) == ("stopped", experiment.run_of(1))
    assert trial["progress"] == {
        "current_chunk": 3,
        "current_epoch": None,
        "num_chunks_visited": None,
        "num_epochs_completed": None,
        "completed_steps": 40,
        "total_steps": 100,
    }


def test_the_highest_version_counts_in_whatever_order_reports_come(experiment: Experiment) -> None:
    for version, status in ((20, TrialStatus.PAUSED), (30, TrialStatus.FINISHED), (25, TrialStatus.RUNNING)):
        experiment.tell_trial(1, status, version=version)
    assert (_trial(experiment)["status"], _trial(experiment)["version"]) == ("finished", 30)


def test_reports_of_an_older_controller_change_nothing(experiment: Experiment) -> None:
    experiment.take_over("c2")
    experiment.tell_trial(1, TrialStatus.FAILED, epoch=1, version=1000)
    experiment.tell(ExperimentStatus.FAILED, epoch=1)
    assert (_trial(experiment)["status"], _view(experiment)["status"]) == ("running", "running")
    experiment.tell_trial(1, TrialStatus.STOPPED, version=1)
    assert (_trial(experiment)["status"], _trial(experiment)["epoch"]) == ("stopped", 2)


def test_the_next_controller_is_newer_than_what_was_reported_under_another_server(experiment: Experiment) -> None:
    experiment.tell_trial(1, TrialStatus.RUNNING, epoch=7)
    assert experiment.take_over("c2") == 8


def test_a_controller_that_never_met_the_server_makes_its_experiment_known_by_records(experiment: Experiment) -> None:
    stranger = Experiment(experiment.server, f"{experiment.name} offline")
    stranger.tell(ExperimentStatus.RUNNING, mode="fit", config_options={"lr": [1, 2]}, metric_experiment_id="9")
    stranger.tell_trial(3, TrialStatus.PRUNED, reason="out of budget")
    listed = experiment.server.get("/api/v1/experiments").json()["experiments"]
    (found,) = [each for each in listed if each["name"] == stranger.name]
    assert (found["epoch"], found["mode"], found["config_options"]) == (0, "fit", {"lr": [1, 2]})
    assert (found["metric_experiment_id"], found["controller_connected"]) == ("9", False)
    stranger.number = found["id"]
    assert (_trial(stranger, 3)["status"], _trial(stranger, 3)["reason"]) == ("pruned", "out of budget")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"experiment": "x"},
        {"experiment": "", "run_id": 1, "epoch": 1, "version": 1, "status": "running"},
        {"experiment": "x", "run_id": 2**63, "epoch": 1, "version": 1, "status": "running"},
        {"experiment": "x", "run_id": -1, "epoch": 1, "version": 1, "status": "running"},
        {"experiment": "x", "run_id": 1, "epoch": 1, "version": 1, "status": "dancing"},
        {"experiment": "x", "run_id": True, "epoch": 1, "version": 1, "status": "running"},
    ],
)
def test_what_is_no_report_stays_data_and_takes_no_neighbour_along(experiment: Experiment, value: object) -> None:
    body = {"name": "trial", "type": "trial", "step": None, "value": value}
    good = {"name": "trial", "type": "trial", "step": None, "value": {"experiment": experiment.name, "run_id": 8}}
    good["value"] |= {"epoch": 1, "version": 1, "status": "running", "of_a_newer_client": 1}  # type: ignore[operator]
    run = experiment.run_of(8)
    experiment.record(run, encode_record(1, "data", 1, body), encode_record(2, "data", 2, good))
    assert _trial(experiment, 8)["status"] == "running"


def test_live_trials_of_a_controller_that_died_are_lost(experiment: Experiment) -> None:
    experiment.tell_trial(2, TrialStatus.FINISHED)
    run = f"{experiment.name}/controller"
    experiment.record(run, encode_record(5001, "state", 1, {"status": "interrupted", "reason": "killed"}))
    assert (_trial(experiment, 1)["status"], _trial(experiment, 1)["reason"]) == ("lost", "killed")
    assert _trial(experiment, 2)["status"] == "finished"
    assert (_view(experiment)["status"], _view(experiment)["error"]) == ("failed", "killed")


def test_lists_come_in_pages(experiment: Experiment) -> None:
    for run_id in (2, 3):
        experiment.tell_trial(run_id, TrialStatus.CREATED)
    path = f"/api/v1/experiments/{experiment.number}/trials?limit=2"
    first, rest = experiment.server.get(path).json(), experiment.server.get(f"{path}&offset=2").json()
    assert ([each["run_id"] for each in first["trials"]], first["next"]) == ([1, 2], 2)
    assert ([each["run_id"] for each in rest["trials"]], rest["next"]) == ([3], None)
    page = experiment.server.get("/api/v1/experiments?limit=1").json()
    assert [each["name"] for each in page["experiments"]] == [experiment.name]
