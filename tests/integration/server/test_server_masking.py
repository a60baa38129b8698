"""What clients that mask nothing send as configurations and printed lines, as the server stores it."""

import json
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core.masking import MASK
from flashtrial.protocol.records import encode_record
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


def test_masking_can_be_switched_off(flashtrial_home: Path) -> None:
    with tracking_server(flashtrial_home, mask_secrets=False) as server:
        server.ingest(batch("r", state(1, "running", config=CONFIG)))
        assert server.get("/api/v1/runs/r").json()["config"] == CONFIG
