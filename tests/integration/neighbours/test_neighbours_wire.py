"""The neighbours' wires by hand: what is sent again, what is forged, what a token is needed for."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from testkit.tracking_server import Answer, TrackingClient, tracking_server
from testkit.waiting import wait_until

pytestmark = pytest.mark.integration

JSON = {"Content-Type": "application/json"}
CREATE = {"runName": "r", "projectName": "p", "externalId": None, "config": None, "tags": None}
MLFLOW = "/api/2.0/mlflow"


def post(server: TrackingClient, path: str, said: object, **headers: str) -> Answer:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return server.request("POST", path, body, {**JSON, **headers})


def made(server: TrackingClient, **more: object) -> dict[str, Any]:
    answer = post(server, "/api/runs/create", {**CREATE, **more})
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def id_of(server: TrackingClient) -> str:
    [run] = server.get("/api/v1/runs").json()["runs"]
    return str(run["id"])


def test_lines_sent_again_are_stored_once_however_they_are_cut(server: TrackingClient) -> None:
    number = str(made(server)["runId"])
    lines = [b'{"time":%d,"step":%d,"data":{"loss":%d.5,"sys/cpu":NaN}}\n' % (1000 + n, n, n) for n in range(6)]
    for some in (lines[:4], lines[2:], lines):
        assert post(server, "/ingest/metrics", b"".join(some), **{"X-Run-Id": number}).status == 200
    assert [(step, value) for step, _, value in server.points(id_of(server), "loss")] == [
        (n, n + 0.5) for n in range(6)
    ]
    assert [value for _, _, value in server.points(id_of(server), "sys/cpu")] == ["NaN"] * 6


def test_printed_lines_and_data_sent_again_are_stored_once(server: TrackingClient) -> None:
    number = str(made(server)["runId"])
    printed = (
        b'{"time":1,"message":"same","lineNumber":1,"logType":"INFO"}\n{"time":1,"message":"same","lineNumber":2}\n'
    )
    datum = b'{"time":1,"data":"{\\"a\\":1}","dataType":"TABLE","logName":"t","step":1}\n'
    for _ in range(3):
        assert post(server, "/ingest/logs", printed, **{"X-Run-Id": number}).status == 200
        assert post(server, "/ingest/data", datum, **{"X-Run-Id": number}).status == 200
    assert len(server.get(f"/api/v1/runs/{id_of(server)}/console").json()["lines"]) == 2
    assert len(server.get(f"/api/v1/runs/{id_of(server)}/data").json()["data"]) == 1


def test_the_figures_of_numbers_that_are_too_large_to_be_summed_are_told(server: TrackingClient) -> None:
    number = made(server)["runId"]
    lines = [b'{"time":1,"step":%d,"data":{"big":%b,"even":%d}}\n' % (n, b"1.5e308", n) for n in range(3)]
    assert post(server, "/ingest/metrics", b"".join(lines), **{"X-Run-Id": str(number)}).status == 200
    found = server.get(f"/api/runs/statistics?runId={number}")
    assert found.status == 200
    big, even = json.loads(found.body)["statistics"]
    assert (big["min"], big["max"], big["last"], big["count"]) == (1.5e308, 1.5e308, 1.5e308, 3)
    assert (even["mean"], even["variance"], even["last"]) == (1.0, pytest.approx(2 / 3), 2.0)


def test_an_alert_whose_answer_was_lost_is_stored_once(server: TrackingClient) -> None:
    number = made(server)["runId"]
    alert = {"timestamp": 1000, "level": "WARN", "title": "t", "body": "b", "email": True, "url": None}
    for said in (alert, alert, {**alert, "timestamp": 2000}):
        assert post(server, "/api/runs/alert", {"runId": number, "alert": said}).status == 200
    assert len(server.get(f"/api/v1/runs/{id_of(server)}/data?name=alert").json()["data"]) == 2


def sent_and_left(server: TrackingClient, path: str, said: object) -> None:
    """A request whose client leaves before any answer; over when its run is there."""
    body = json.dumps(said).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    wait_until(lambda: len(server.get("/api/v1/runs").json()["runs"]) == 1, what="the run that nobody heard of")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/runs/create", CREATE),
        (f"{MLFLOW}/runs/create", {"experiment_id": "0", "start_time": 1000, "run_name": "once"}),
    ],
    ids=["pluto", "mlflow"],
)
def test_a_create_whose_client_left_before_its_answer_makes_one_run_and_one_that_was_heard_another(
    server: TrackingClient, path: str, said: dict[str, Any]
) -> None:
    sent_and_left(server, path, said)
    assert post(server, path, said).status == 200
    assert len(server.get("/api/v1/runs").json()["runs"]) == 1
    assert post(server, path, said).status == 200
    assert len(server.get("/api/v1/runs").json()["runs"]) == 2


def test_runs_that_begin_in_one_instant_and_say_the_same_are_several(server: TrackingClient) -> None:
    said = {"experiment_id": "0", "start_time": 1000, "tags": [{"key": "mlflow.parentRunId", "value": "p"}]}
    with ThreadPoolExecutor(4) as pool:
        found = [
            *pool.map(lambda _: post(server, f"{MLFLOW}/runs/create", said).json()["run"]["info"]["run_id"], range(8))
        ]
        numbers = [*pool.map(lambda _: made(server)["runId"], range(8))]
    assert (len(set(found)), len(set(numbers))) == (8, 8)


def test_a_worse_end_outweighs_a_better_one(server: TrackingClient) -> None:
    number = made(server)["runId"]
    for status in ("FAILED", "COMPLETED"):
        assert post(server, "/api/runs/status/update", {"runId": number, "status": status}).status == 200
    assert post(server, "/api/runs/trigger", {"runId": number}).json() == {"status": "FAILED"}


def test_errors_are_in_plutos_shape(server: TrackingClient) -> None:
    assert post(server, "/api/runs/resume", {"runId": 999}).json() == {"error": "Run not found"}
    number = made(server)["runId"]
    answer = post(server, "/api/runs/tags/update", {"runId": number, "tags": ["group:a", "group:b"]})
    assert (answer.status, answer.json()) == (400, {"error": "A run can have at most one group:* tag."})
    bad = post(server, "/ingest/metrics", b'{"time":1,"step":-1,"data":{"a":1}}\n', **{"X-Run-Id": str(number)})
    assert bad.status == 422
    assert "step" in bad.json()["error"]


def test_an_address_for_a_file_is_good_for_that_file_alone(server: TrackingClient) -> None:
    number = made(server)["runId"]
    file = {"fileName": "a.txt", "fileSize": 3, "fileType": "txt", "time": 1, "logName": "../../a", "step": 1}
    answer = post(server, "/files", {"files": [file]}, **{"X-Run-Id": str(number)})
    url = answer.json()["../../a"][0]["a.txt"]
    path = url.partition(f":{server.port}")[2]
    forged = path[:-4] + ("AAAA" if not path.endswith("AAAA") else "BBBB")
    assert server.request("PUT", forged, b"abc").status == 403
    assert server.get(path.replace("/put/", "/get/")).status == 403
    for _ in range(2):
        assert server.request("PUT", path, b"abc", {"Content-Type": "text/plain"}).status == 200
    [stored] = server.get(f"/api/v1/runs/{id_of(server)}/files").json()["files"]
    assert (stored["name"], stored["size"]) == ("../../a", 3)


def test_without_the_token_nothing_is_told(tmp_path: Path) -> None:
    with tracking_server(tmp_path / "closed", token="secret") as server:
        for path in (
            "/api/runs/create",
            "/ingest/metrics",
            "/files",
            f"{MLFLOW}/runs/search",
            "/ajax-api/2.0/mlflow/runs/search",
        ):
            assert post(server, path, {}).status == 401, path
        assert server.get("/get-artifact?run_id=x&path=y").status == 401
        known = {"Authorization": "Bearer secret"}
        assert post(server, "/api/runs/create", CREATE, **known).status == 200
        assert post(server, f"{MLFLOW}/experiments/search", {}, **known).status == 200


def test_pages_of_strangers_reach_neither_wire(server: TrackingClient) -> None:
    for path in ("/api/runs/create", "/ingest/metrics", f"{MLFLOW}/runs/create"):
        assert post(server, path, CREATE, Origin="http://evil.example").status == 403
        assert server.request("POST", path, b"{}", {**JSON, "Host": "evil.example"}).status == 403


def test_a_metric_said_twice_to_mlflow_is_kept_once(server: TrackingClient) -> None:
    run = post(server, f"{MLFLOW}/runs/create", {"experiment_id": "0", "start_time": 1000}).json()["run"]
    run_id = run["info"]["run_id"]
    one = {"key": "loss", "value": "NaN", "timestamp": 5, "step": "1"}
    two = {"key": "loss", "value": 2.5, "timestamp": 5, "step": 1}
    for metrics in ([one, two], [two], [one]):
        assert post(server, f"{MLFLOW}/runs/log-batch", {"run_id": run_id, "metrics": metrics}).status == 200
    found = server.get(f"{MLFLOW}/metrics/get-history?run_id={run_id}&metric_key=loss").json()["metrics"]
    assert sorted(str(point["value"]) for point in found) == ["2.5", "NaN"]


def test_an_experiments_tag_is_a_text_to_all_who_read_it_later(server: TrackingClient) -> None:
    for value in ({"a": 1}, [1], 2.5, True):
        tag = {"experiment_id": "0", "key": "k", "value": value}
        assert post(server, f"{MLFLOW}/experiments/set-experiment-tag", tag).status == 200
        experiment = server.get(f"{MLFLOW}/experiments/get?experiment_id=0").json()["experiment"]
        assert experiment["tags"] == [{"key": "k", "value": str(value)}]
    assert post(server, f"{MLFLOW}/experiments/delete-experiment-tag", {"experiment_id": "0", "key": "k"}).status == 200
    assert server.get(f"{MLFLOW}/experiments/get?experiment_id=0").json()["experiment"]["tags"] == []


def test_unknown_endpoints_say_so_in_mlflows_words(server: TrackingClient) -> None:
    answer = post(server, f"{MLFLOW}/registered-models/create", {})
    assert (answer.status, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
