"""What clients that mask nothing send as configurations, tags, lines, reasons and alerts, as the server stores it."""

import json
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core.masking import MASK
from flashtrial.protocol.records import encode_record
from flashtrial.server.exchange.intake import import_runs
from flashtrial.server.exchange.transfer import Format, export_runs
from flashtrial.server.settings import ServerSettings
from testkit.tracking_server import TrackingClient, batch, state, tracking_server

pytestmark = pytest.mark.integration

KEY = "hf_" + "aB3" * 11
CONFIG = {"lr": 0.1, "hub": {"hf_token": "short", "pad_token": "<pad>"}, "note": KEY}
SHOWN = {"lr": 0.1, "hub": {"hf_token": MASK, "pad_token": "<pad>"}, "note": MASK}
JSON = {"Content-Type": "application/json"}


def post(server: TrackingClient, path: str, **said: object) -> Any:
    answer = server.request("POST", path, json.dumps(said).encode(), JSON)
    assert answer.status == 200, answer.body
    return answer.json()


def test_no_secret_of_a_config_is_stored(server: TrackingClient, flashtrial_home: Path) -> None:
    update = encode_record(2, "config", 1, {"set": {"db": {"password": "hunter2-" * 3}}})
    line = encode_record(3, "console", 1, {"stream": "stdout", "line": 1, "text": f"logged in with {KEY}"})
    server.ingest(batch("ours", state(1, "running", config=CONFIG), update, line))
    pluto = post(server, "/api/runs/create", projectName="p", runName="n", config=json.dumps(CONFIG))
    mlflow = post(server, "/api/2.0/mlflow/runs/create", experiment_id="0")["run"]["info"]["run_id"]
    for _ in range(2):  # MLflow lets a parameter be said again, and not be changed
        post(server, "/api/2.0/mlflow/runs/log-parameter", run_id=mlflow, key="api_key", value=KEY)
    assert server.get("/api/v1/runs/ours").json()["config"] == {**SHOWN, "db": {"password": MASK}}
    assert server.get("/api/v1/runs/ours/console").json()["lines"][0]["text"] == f"logged in with {MASK}"
    assert server.get(f"/api/runs/details/{pluto['runId']}").json()["config"] == SHOWN
    assert server.get(f"/api/v1/runs/{mlflow}").json()["config"] == {"api_key": MASK}
    stored = b"".join(path.read_bytes() for path in flashtrial_home.glob("*.db*"))
    assert KEY.encode() not in stored
    assert b"hunter2" not in stored


def test_no_secret_of_a_tag_is_stored_and_it_can_be_taken_away(server: TrackingClient, flashtrial_home: Path) -> None:
    more = encode_record(2, "tags", 2, {"tags": ["fast", f"key={KEY}"], "add": [f"key={KEY}"]})
    less = encode_record(3, "tags", 3, {"tags": ["fast"], "remove": [f"key={KEY}"]})
    server.ingest(batch("ours", state(1, "running", tags=["fast", KEY]), more))
    assert server.get("/api/v1/runs/ours").json()["tags"] == ["fast", MASK, f"key={MASK}"]
    server.ingest(batch("ours", less))
    assert server.get("/api/v1/runs/ours").json()["tags"] == ["fast", MASK]
    assert KEY.encode() not in b"".join(path.read_bytes() for path in flashtrial_home.glob("*.db*"))


def test_no_secret_of_a_reason_or_an_alert_is_stored(server: TrackingClient, flashtrial_home: Path) -> None:
    words = f"refused: Bearer {KEY}"
    value = {"title": words, "text": f"https://me:{KEY}@example.org", "level": "WARN"}
    alert = encode_record(2, "data", 2, {"name": "alert", "type": "alert", "step": None, "value": value})
    server.ingest(batch("ours", state(1, "running"), alert, state(3, "failed", reason=words)))
    pluto = post(server, "/api/runs/create", projectName="p", runName="n")["runId"]
    post(server, "/api/runs/alert", runId=pluto, alert={"title": words, "message": words, "level": "WARN"})
    post(server, "/api/runs/status/update", runId=pluto, status="FAILED", statusMetadata=words)
    server.ingest(batch("gone", state(1, "running"), alert))
    post(server, "/api/v1/heartbeat", writers=[{"run_id": "gone", "writer_id": "w1", "state": "gone", "reason": words}])
    runs = server.get("/api/v1/runs").json()["runs"]
    assert len(runs) == 3
    for run in runs:
        shown = server.get(f"/api/v1/runs/{run['id']}").json()
        assert shown["reason"] == f"refused: Bearer {MASK}"
        [told] = server.get(f"/api/v1/runs/{run['id']}/data?type=alert").json()["data"]
        assert told["value"]["title"] == f"refused: Bearer {MASK}"
    stored = b"".join(path.read_bytes() for path in flashtrial_home.glob("*.db*"))
    assert KEY.encode() not in stored


def test_no_secret_of_a_logged_model_is_stored_or_taken_in(flashtrial_home: Path, tmp_path: Path) -> None:
    items = [{"key": "api_key", "value": "hunter2-" * 3}, {"key": "note", "value": KEY}, {"key": "lr", "value": "0.1"}]
    shown = [{"key": "api_key", "value": MASK}, {"key": "lr", "value": "0.1"}, {"key": "note", "value": MASK}]
    path = "/api/2.0/mlflow/logged-models"
    models = {}
    for mask_secrets, home in ((False, tmp_path / "open"), (True, flashtrial_home)):
        with tracking_server(home, mask_secrets=mask_secrets) as server:
            run = post(server, "/api/2.0/mlflow/runs/create", experiment_id="0")["run"]["info"]["run_id"]
            model = post(server, path, experiment_id="0", source_run_id=run, params=items, tags=items)["model"]
            models[home] = model["info"]["model_id"]
            post(server, f"{path}/{models[home]}/params", params=[{"key": "password", "value": "hunter2-" * 3}])
    export_runs(ServerSettings(tmp_path / "open"), tmp_path / "out", Format.JSON)
    import_runs(ServerSettings(flashtrial_home), tmp_path / "out")
    with tracking_server(flashtrial_home) as server:
        for model_id in models.values():
            found = server.get(f"{path}/{model_id}").json()["model"]
            assert found["info"]["tags"] == shown
            assert found["data"]["params"] == [*shown, {"key": "password", "value": MASK}]
    stored = b"".join(path.read_bytes() for path in flashtrial_home.glob("*.db*"))
    assert KEY.encode() not in stored
    assert b"hunter2" not in stored


def test_masking_can_be_switched_off(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home, mask_secrets=False) as server:
        server.ingest(batch("r", state(1, "running", config=CONFIG)))
        assert server.get("/api/v1/runs/r").json()["config"] == CONFIG
