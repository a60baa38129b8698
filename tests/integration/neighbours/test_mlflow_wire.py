"""MLflow's REST by hand: what its own server answers to the same, and what its clients never send."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from flashtrial.protocol.records import Batch
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
