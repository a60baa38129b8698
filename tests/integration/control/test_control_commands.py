"""Commands, inbox and receipts over HTTP: each settled once, whoever asks again."""

import json
import threading
from typing import Any

import pytest

from flashtrial.protocol.trials import TrialStatus
from testkit.control import JSON, Experiment, post
from testkit.tracking_server import Answer, TrackingClient
from testkit.waiting import wait_until

pytestmark = pytest.mark.integration


def _asked(experiment: Experiment, **fields: Any) -> dict[str, Any]:
    """A command that waits for its receipt."""
    answer = experiment.ask(1, fields.pop("kind", "stop"), **fields)
    assert answer.status == 202, answer.body
    command: dict[str, Any] = answer.json()
    return command


def test_without_a_receipt_a_command_is_answered_202_and_goes_on_waiting(experiment: Experiment) -> None:
    command = _asked(experiment, seen_version=4)
    assert (command["state"], command["seen_version"], command["settled_ms"]) == ("pending", 4, None)
    assert experiment.server.get(f"/api/v1/commands/{command['id']}").json() == command
    assert experiment.inbox().json() == {"commands": [command], "next": command["number"]}


def test_whoever_commands_hears_of_the_receipt_at_once(controlled: Experiment) -> None:
    experiment = controlled
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(experiment.ask(1, "clone-modify", config={"lr": 1})))
    asking.start()
    (command,) = experiment.inbox(wait_s=20).json()["commands"]
    assert (command["kind"], command["config"]) == ("clone-modify", {"lr": 1})
    assert experiment.receipt(command["id"], new_run_id=7).status == 200
    asking.join(20)
    assert answers[0].status == 200
    assert (answers[0].json()["state"], answers[0].json()["new_run_id"]) == ("done", 7)


def test_a_refusal_is_told_with_its_reason(experiment: Experiment) -> None:
    command = _asked(experiment)
    experiment.receipt(command["id"], refusal="illegal", reason="it has finished")
    told = experiment.server.get(f"/api/v1/commands/{command['id']}").json()
    assert (told["state"], told["refusal"], told["reason"]) == ("refused", "illegal", "it has finished")


def test_the_same_command_again_is_the_same_row_with_its_outcome(experiment: Experiment) -> None:
    first = _asked(experiment, id=experiment.name)
    assert _asked(experiment, id=experiment.name)["number"] == first["number"]
    experiment.receipt(experiment.name)
    again = experiment.ask(1, "stop", id=experiment.name)
    assert (again.status, again.json()["state"]) == (200, "done")
    assert experiment.inbox().json()["commands"] == []


def test_an_id_is_not_taken_for_two_commands(experiment: Experiment) -> None:
    _asked(experiment, id=experiment.name)
    answer = experiment.ask(1, "delete", id=experiment.name)
    assert (answer.status, answer.json()["error"]) == (409, "id_taken")


def test_the_same_receipt_again_is_fine_and_another_one_is_not(experiment: Experiment) -> None:
    command = _asked(experiment, kind="clone-modify", config={})
    assert [experiment.receipt(command["id"], new_run_id=2).status for _ in range(2)] == [200, 200]
    for fields in ({"new_run_id": 3}, {"refusal": "illegal"}):
        answer = experiment.receipt(command["id"], **fields)
        assert (answer.status, answer.json()["error"]) == (409, "already_settled")


def test_a_withdrawn_command_takes_no_receipt(experiment: Experiment) -> None:
    command = _asked(experiment)
    path = f"/api/v1/commands/{command['id']}"
    assert experiment.server.request("DELETE", path).json()["state"] == "withdrawn"
    assert experiment.inbox().json()["commands"] == []
    answer = experiment.receipt(command["id"])
    assert (answer.status, answer.json()["error"]) == (409, "withdrawn")
    assert experiment.server.request("DELETE", path).status == 200
    assert experiment.server.get(path).json()["state"] == "withdrawn"


def test_what_was_settled_cannot_be_withdrawn(experiment: Experiment) -> None:
    command = _asked(experiment)
    experiment.receipt(command["id"])
    answer = experiment.server.request("DELETE", f"/api/v1/commands/{command['id']}")
    assert (answer.status, answer.json()["error"]) == (409, "already_settled")


def test_a_command_that_has_expired_is_not_handed_out_and_takes_no_receipt(experiment: Experiment) -> None:
    command = experiment.ask(1, "stop", expires_in_s=0.01).json()
    path = f"/api/v1/commands/{command['id']}"
    wait_until(lambda: experiment.server.get(path).json()["state"] == "expired")
    assert experiment.inbox().json()["commands"] == []
    answer = experiment.receipt(command["id"])
    assert (answer.status, answer.json()["error"]) == (409, "expired")


def test_a_newer_controller_supersedes_the_older_one(experiment: Experiment) -> None:
    command = _asked(experiment)
    older = Experiment(experiment.server, number=experiment.number, epoch=experiment.epoch)
    assert experiment.take_over("c2") == older.epoch + 1
    for answer in (older.receipt(command["id"]), older.inbox(), older.inbox(wait_s=20)):
        assert (answer.status, answer.json()["error"]) == (409, "superseded")
    assert experiment.receipt(command["id"]).status == 200


def test_a_waiting_controller_hears_at_once_that_it_is_superseded(experiment: Experiment) -> None:
    older, answers = Experiment(experiment.server, number=experiment.number, epoch=experiment.epoch), []
    waiting = threading.Thread(target=lambda: answers.append(older.inbox(wait_s=30)))
    waiting.start()
    wait_until(lambda: _is_connected(experiment))
    experiment.take_over("c2")
    waiting.join(15)
    assert [answer.json()["error"] for answer in answers] == ["superseded"]


def _is_connected(experiment: Experiment) -> bool:
    path = f"/api/v1/experiments/{experiment.number}"
    return bool(experiment.server.get(path).json()["controller_connected"])


def test_a_controller_is_connected_once_it_has_asked(experiment: Experiment) -> None:
    assert not _is_connected(experiment)
    experiment.inbox()
    assert _is_connected(experiment)
    experiment.take_over("c2")
    assert not _is_connected(experiment)


def test_asking_for_the_post_again_gives_the_same_epoch(experiment: Experiment) -> None:
    epochs = [experiment.take_over(who) for who in ("c1", "c1", "c2", "c2", "c3")]
    assert epochs == [1, 1, 2, 2, 3]


def test_the_inbox_goes_on_behind_a_cursor_and_begins_anew_without(experiment: Experiment) -> None:
    first, second = _asked(experiment), _asked(experiment)
    assert [each["id"] for each in experiment.inbox().json()["commands"]] == [first["id"], second["id"]]
    behind = experiment.inbox(after=first["number"]).json()
    assert ([each["id"] for each in behind["commands"]], behind["next"]) == ([second["id"]], second["number"])
    assert experiment.inbox(after=second["number"]).json() == {"commands": [], "next": second["number"]}


def test_ids_of_runs_are_handed_out_once_across_experiments(experiment: Experiment) -> None:
    other = Experiment(experiment.server, "another")
    other.take_over()
    found: list[int] = []
    for asking, count in ((experiment, 3), (other, 2), (experiment, 1)):
        body = {"epoch": asking.epoch, "count": count}
        answer = post(asking.server, f"/api/v1/experiments/{asking.number}/run-ids", body).json()
        found += range(answer["first"], answer["first"] + answer["count"])
    first = found[0]
    assert first > 1  # run 1 was reported by a controller that did not ask
    assert found == list(range(first, first + 6))


def test_commands_to_trials_and_experiments_that_are_not_there_are_404(experiment: Experiment) -> None:
    for answer, error in (
        (experiment.ask(9, "stop"), "no_such_trial"),
        (experiment.receipt("nothing"), "no_such_command"),
        (experiment.server.get("/api/v1/commands/nothing"), "no_such_command"),
        (experiment.server.get("/api/v1/experiments/99"), "no_such_experiment"),
        (experiment.server.get("/api/v1/experiments/99/events"), "no_such_experiment"),
        (experiment.server.get("/api/v1/experiments/99/inbox?epoch=1"), "no_such_experiment"),
        (experiment.server.get("/api/v1/experiments/99/trials"), "no_such_experiment"),
        (experiment.server.get(f"/api/v1/experiments/{experiment.number}/trials/9"), "no_such_trial"),
    ):
        assert (answer.status, answer.json()["error"]) == (404, error)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "dance"},
        {"run_id": 0},
        {"run_id": 2**63},
        {"expires_in_s": 0},
        {"config": {"lr": 1}},
        {"kind": "clone-modify", "config": {"lr": 2**70}},
        {"kind": "clone-modify", "config": [1]},
        {"id": ""},
    ],
)
def test_commands_that_cannot_be_are_refused_by_name(experiment: Experiment, fields: dict[str, Any]) -> None:
    body = json.dumps({"experiment": experiment.number, "run_id": 1, "kind": "stop", **fields}).encode()
    answer = experiment.server.request("POST", "/api/v1/commands", body, JSON)
    assert (answer.status, answer.json()["error"]) == (422, "bad_question")


def test_commands_are_listed_newest_first_by_experiment(experiment: Experiment, server: TrackingClient) -> None:
    other = Experiment(server, "other")
    other.take_over()
    other.tell_trial(5, TrialStatus.RUNNING)
    ids = [_asked(experiment)["id"], _asked(experiment)["id"]]
    other.ask(5, "delete")
    page = server.get(f"/api/v1/commands?experiment={experiment.number}&limit=1").json()
    assert ([each["id"] for each in page["commands"]], page["next"]) == (ids[1:], 1)
    rest = server.get(f"/api/v1/commands?experiment={experiment.number}&limit=1&offset=1").json()
    assert ([each["id"] for each in rest["commands"]], rest["next"]) == (ids[:1], None)
    assert len(server.get("/api/v1/commands?limit=3").json()["commands"]) == 3
