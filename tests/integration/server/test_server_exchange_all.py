"""An export moves all that a home knows: what every client said, how runs stand, who controlled them."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core import sqlite
from flashtrial.protocol.records import encode_record
from flashtrial.protocol.trials import ExperimentStatus, TrialStatus
from flashtrial.server.exchange.intake import import_runs
from flashtrial.server.exchange.transfer import Format, export_runs
from flashtrial.server.settings import ServerSettings
from testkit.control import Experiment
from testkit.tracking_server import TrackingClient, batch, metric, state, tracking_server

pytestmark = pytest.mark.integration

MLFLOW = "/api/2.0/mlflow"
JSON = {"Content-Type": "application/json"}
METRIC = {"key": "loss", "value": 0.5, "timestamp": 1000, "step": 3}


def post(server: TrackingClient, path: str, said: object, **headers: str) -> Any:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    answer = server.request("POST", path, body, {**JSON, **headers})
    assert answer.status == 200, answer.body
    return answer.json() if answer.body else None


def _mlflow(server: TrackingClient) -> None:
    """Two experiments, one of them deleted; runs with all that a run may have, one of them deleted."""
    kept = post(server, f"{MLFLOW}/experiments/create", {"name": "kept", "tags": [{"key": "team", "value": "a"}]})
    gone = post(server, f"{MLFLOW}/experiments/create", {"name": "gone"})
    post(server, f"{MLFLOW}/experiments/delete", gone)
    for number in range(2):
        told = {"experiment_id": kept["experiment_id"], "user_id": "ada", "start_time": 5, "run_name": f"m{number}"}
        made = post(server, f"{MLFLOW}/runs/create", {**told, "tags": [{"key": "a", "value": "1"}]})
        run_id = made["run"]["info"]["run_id"]
        high, back = {**METRIC, "value": "Infinity"}, {**METRIC, "step": 1, "timestamp": 2000, "value": "NaN"}
        logged = {"metrics": [METRIC, high, back], "params": [{"key": "lr", "value": "0.1"}]}
        post(server, f"{MLFLOW}/runs/log-batch", {"run_id": run_id, **logged, "tags": [{"key": "b", "value": "2"}]})
        dataset = {"dataset": {"name": "d", "digest": "1", "source_type": "x", "source": "y"}, "tags": []}
        post(server, f"{MLFLOW}/runs/log-inputs", {"run_id": run_id, "datasets": [dataset]})
        folder = f"/api/2.0/mlflow-artifacts/artifacts/{kept['experiment_id']}/{run_id}/artifacts"
        for name in ("stays.txt", "goes.txt"):
            assert server.request("PUT", f"{folder}/{name}", name.encode()).status == 200
        assert server.request("DELETE", f"{folder}/goes.txt").status == 200
        if number:
            post(server, f"{MLFLOW}/runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": 9000})
            post(server, f"{MLFLOW}/runs/delete", {"run_id": run_id})


def _pluto(server: TrackingClient) -> None:
    """A run that another user named, and a fork of it."""
    create = {"runName": "p", "projectName": "pluto", "externalId": "mine", "config": '{"a": 1}', "tags": ["t"]}
    parent = post(server, "/api/runs/create", create)["runId"]
    line = b'{"time":1000,"step":1,"data":{"loss":1.5}}\n'
    post(server, "/ingest/metrics", line, **{"X-Run-Id": str(parent)})
    post(server, "/api/runs/create", {**create, "externalId": None, "forkRunId": parent, "forkStep": 1})
    post(server, "/api/runs/config/update", {"runId": parent, "config": '{"a": 2}'})


def _native(server: TrackingClient) -> None:
    """Forks of a run that changed and of one that is gone, a run that a dead process left, records without a trace."""
    opened = state(1, "running", config={"depth": 1}, tags=["old"])
    server.ingest(batch("parent", opened, metric(2, {})))
    fork = {"run_id": "parent", "step": 1, "inherit_config": True, "inherit_tags": True}
    server.ingest(batch("child", state(1, "running", fork=fork), writer_id="w2"))
    alert = {"name": "alert", "type": "alert", "step": None, "value": {"title": "high", "level": "warn"}}
    later = encode_record(3, "config", 3000, {"set": {"depth": 9}}), encode_record(4, "data", 4, alert)
    server.ingest(batch("parent", *later))
    opened = state(1, "running", config={"width": 3}, tags=["gone"])
    server.ingest(batch("lost", opened, metric(2, {"loss": 1.5}), metric(3, {"loss": float("inf")})))
    fork = {"run_id": "lost", "step": 3, "inherit_config": True}
    server.ingest(batch("orphan", state(4, "running", fork=fork), metric(5, {"loss": 1.25}), writer_id="w2"))
    assert server.request("DELETE", "/api/v1/runs/lost").status == 200
    server.ingest(batch("dead", state(1, "running"), writer_id="w3"))
    gone = {"writers": [{"run_id": "dead", "writer_id": "w3", "state": "gone", "reason": "it was killed"}]}
    post(server, "/api/v1/heartbeat", gone)


def _control(server: TrackingClient) -> None:
    """An experiment whose second controller settled one of two commands."""
    experiment = Experiment(server, "exp")
    experiment.take_over("c0")
    experiment.tell_trial(1, TrialStatus.RUNNING)
    experiment.take_over("c1")
    experiment.tell(ExperimentStatus.RUNNING, mode="grid")
    experiment.tell_trial(2, TrialStatus.RUNNING)
    assert experiment.receipt(experiment.ask(1, "stop").json()["id"]).status == 200
    assert experiment.ask(2, "stop").status == 202
    post(server, f"/api/v1/experiments/{experiment.number}/run-ids", {"epoch": experiment.epoch, "count": 7})


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServerSettings, ServerSettings, Path]:
    folder = tmp_path_factory.mktemp("moved")
    source, target = (ServerSettings(folder / name) for name in ("source", "target"))
    with tracking_server(source.home, receipt_wait_s=0.0) as server:
        for fill in (_mlflow, _pluto, _native, _control):
            fill(server)
    export_runs(source, folder / "out", Format.JSON)
    done = import_runs(target, folder / "out")
    assert (done.refused, done.duplicates) == (0, 0)
    return source, target, folder / "out"


QUESTIONS = [
    *("/api/v1/runs", "/api/v1/experiments", "/api/v1/experiments/1/trials", "/api/v1/experiments/1"),
    *("/api/v1/runs/orphan", "/api/v1/runs/orphan/metrics?name=loss"),
    *("/api/v1/runs/child", "/api/v1/runs/dead", "/api/v1/runs/parent/data", "/api/v1/runs/parent/metrics?name=loss"),
    *("/api/runs/list?projectName=pluto", "/api/runs/details/1", "/api/runs/details/2", "/api/runs/projects"),
    *(
        f"{MLFLOW}/experiments/get-by-name?experiment_name=kept",
        f"{MLFLOW}/experiments/get-by-name?experiment_name=gone",
    ),
]


def _without_addresses(said: Any) -> Any:
    """An answer without what names the server, or the moment, of the answer."""
    if isinstance(said, dict):
        return {name: _without_addresses(value) for name, value in said.items() if name not in ("url", "connected")}
    if isinstance(said, list):
        return [_without_addresses(item) for item in said]
    return said


def _answers(server: TrackingClient) -> dict[str, Any]:
    """What every client reads."""
    found = {path: json.loads(server.get(path).body) for path in QUESTIONS}
    kept = found[f"{MLFLOW}/experiments/get-by-name?experiment_name=kept"]["experiment"]["experiment_id"]
    search = {"experiment_ids": [kept], "run_view_type": "ALL"}
    found["mlflow runs"] = post(server, f"{MLFLOW}/runs/search", search)["runs"]
    for run in found["mlflow runs"]:
        run_id = run["info"]["run_id"]
        found[f"{run_id} artifacts"] = server.get(f"{MLFLOW}/artifacts/list?run_id={run_id}").json()
        found[f"{run_id} content"] = server.get(f"/get-artifact?run_id={run_id}&path=stays.txt").body
        found[f"{run_id} loss"] = server.get(f"{MLFLOW}/metrics/get-history?run_id={run_id}&metric_key=loss").json()
    return {name: _without_addresses(answer) for name, answer in found.items()}


def test_every_client_reads_the_same_afterwards(moved: tuple[ServerSettings, ServerSettings, Path]) -> None:
    source, target, _ = moved
    answers = []
    for settings in (source, target):
        with tracking_server(settings.home) as server:
            answers.append(_answers(server))
    before, after = answers
    assert sorted(run["info"]["lifecycle_stage"] for run in before["mlflow runs"]) == ["active", "deleted"]
    assert before["/api/v1/runs/dead"]["status"] == "interrupted"
    assert len(before["/api/v1/runs/orphan/metrics?name=loss"]["points"]) == 3
    assert before["/api/v1/runs/child"]["config"] == {"depth": 1}
    assert after == before


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite.connect(path, read_only=True)) as connection:
        return connection.execute(sql).fetchall()


def _dump(home: Path) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """All rows of both databases, by file and table."""
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    places = [(file, table) for file in ("server.db", "neighbours.db") for (table,) in _rows(home / file, sql)]
    return {(file, table): _rows(home / file, f"SELECT * FROM {table}") for file, table in places}


SAME = [
    "SELECT id, status, told_status, reason, config, tags, last_seen_ms FROM runs ORDER BY id",
    "SELECT runs.id, writers.id, taken, ahead_ms, role, beat, heard_ms, gone_reason FROM writers "
    "JOIN runs ON runs.number = run WHERE length(taken) > 0 AND writers.id NOT LIKE '%-' || :epoch ORDER BY 1, 2",
    "SELECT number, name, epoch, told_epoch, status, created_ms, begun_ms, updated_ms FROM experiments",
    "SELECT * FROM trials",
    "SELECT config, tags, has_points FROM inheritance",
    "SELECT kind, name, first_step, last_step, points, summary, data FROM inherited",
    "SELECT id, kind, state, reason, created_ms FROM commands WHERE state != 'withdrawn'",
    "SELECT * FROM run_ids",
]


@pytest.mark.parametrize("sql", SAME, ids=[sql.partition(" FROM ")[2].partition(" ")[0] for sql in SAME])
def test_what_no_record_tells_is_the_same(moved: tuple[ServerSettings, ServerSettings, Path], sql: str) -> None:
    source, target, _ = moved
    [(epoch,)] = _rows(target.home / "neighbours.db", "SELECT value FROM own WHERE name = 'epoch'")
    sql = sql.replace(":epoch", f"'{epoch.decode()}'")
    assert _rows(source.db_path, sql)
    states = {"pending": "withdrawn"}  # what still waited is carried out in the old place, or nowhere
    before = [tuple(states.get(value, value) for value in row) for row in _rows(source.db_path, sql)]
    assert _rows(target.db_path, sql) == [row for row in before if "commands" not in sql or "withdrawn" not in row]


def test_taking_all_in_again_changes_nothing(moved: tuple[ServerSettings, ServerSettings, Path]) -> None:
    _, target, out = moved
    before = _dump(target.home)
    again = import_runs(target, out)
    assert (again.stored, again.refused) == (0, 0)
    assert again.duplicates > 0
    after = _dump(target.home)
    assert {name for name, rows in before.items() if after[name] != rows} == set()


def test_clients_go_on_where_they_were_moved_to(
    moved: tuple[ServerSettings, ServerSettings, Path], tmp_path: Path
) -> None:
    """What they say a second time is known; what is new is new; ids of trials are given once."""
    _, _, out = moved
    target = ServerSettings(tmp_path / "next")
    import_runs(target, out)
    with tracking_server(target.home) as server:
        [run] = [run for run in server.get("/api/v1/runs").json()["runs"] if run["name"] == "m0"]
        before = server.points(run["id"], "loss")
        for value, count in ((0.5, 3), (0.25, 4)):
            told = {"run_id": run["id"], **METRIC, "value": value}
            post(server, f"{MLFLOW}/runs/log-metric", told)
            assert len(server.points(run["id"], "loss")) == count == len(before) + (value == 0.25)
        joined = post(server, "/api/runs/create", {"runName": "p", "projectName": "pluto", "externalId": "mine"})
        assert (joined["resumed"], joined["runId"]) == (True, 1)
        experiment = Experiment(server, "exp")
        assert experiment.take_over("c2") == 3
        ids = post(server, f"/api/v1/experiments/{experiment.number}/run-ids", {"epoch": 3, "count": 1})
        assert ids["first"] == 10


def test_a_fork_that_moves_alone_keeps_what_it_inherited(
    moved: tuple[ServerSettings, ServerSettings, Path], tmp_path: Path
) -> None:
    source, _, _ = moved
    export_runs(source, tmp_path / "out", Format.JSON, run_ids=["child"])
    target = ServerSettings(tmp_path / "home")
    import_runs(target, tmp_path / "out")
    assert _rows(target.db_path, "SELECT id, config, tags FROM runs") == [("child", '{"depth":1}', '["old"]')]
    assert _rows(target.db_path, "SELECT count(*) FROM experiments") == [(0,)]
