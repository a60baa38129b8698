"""The real MLflow server as a destination: exactly one run, every value as MLflow itself keeps it."""

import contextlib
import json
import math
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from flashtrial.protocol.records import Batch, encode_record
from flashtrial.tracking.backends.mlflow import MlflowBackend, MLflowManager, open_backend
from flashtrial.tracking.media.staging import stage_bytes
from testkit import free_port
from testkit.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(400)]

BASE_MS = 1_700_000_000_000
NUMBERS = [1.0, 0.1 + 0.2, -2.5e-300, math.nan, math.inf, -math.inf, 7.0]
LARGEST = 1.7976931348623157e308  # what MLflow's own database makes of infinity
START_TIMEOUT_S = 240


@pytest.fixture(scope="module")
def mlflow_url(mlflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow-server")
    port = free_port()
    command = [str(mlflow_python.with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until(
                lambda: _answers(port) or process.poll() is not None, START_TIMEOUT_S, "MLflow's server to serve"
            )
            assert process.poll() is None, (folder / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _answers(port: int) -> bool:
    try:
        with urllib3.PoolManager(retries=False, timeout=5) as pool:
            return pool.request("GET", f"http://127.0.0.1:{port}/health").status == 200
    except urllib3.exceptions.HTTPError:
        return False


def asked(url: str, path: str, said: dict[str, Any] | None = None) -> Any:
    """What MLflow answers."""
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        answer = pool.request(
            "GET" if said is None else "POST",
            f"{url}/api/2.0/mlflow/{path}",
            body=None if said is None else json.dumps(said).encode(),
            headers={"Content-Type": "application/json"},
        )
    assert answer.status == 200, answer.data
    return json.loads(answer.data)


def life(outbox: Path) -> Batch:
    outbox.mkdir(parents=True, exist_ok=True)
    staged = stage_bytes(outbox, b"bytes")
    opening = {"project": "real", "name": "named", "config": {"lr": 0.1, "net": {"depth": 2}}, "tags": ["a tag", "b"]}
    bodies: list[tuple[str, dict[str, Any]]] = [("state", {"status": "running", **opening})]
    bodies += [
        ("metric", {"step": step, "values": {"loss": value, "é@x": value}}) for step, value in enumerate(NUMBERS)
    ]
    bodies += [
        ("tags", {"tags": ["a tag"], "remove": ["b"]}),
        ("config", {"set": {"lr": 0.2}}),
        (
            "file",
            {"name": "f/one", "step": 1, "type": "artifact", "sha256": staged.sha256, "size": 5, "staged": staged.ref,
             "mime": "text/plain", "file_name": "o.txt"},
        ),
        ("state", {"status": "finished"}),
    ]  # fmt: skip
    return Batch(
        "run_real", "wr_one", b"".join(encode_record(n, k, BASE_MS + n, b) for n, (k, b) in enumerate(bodies, 1))
    )


def test_a_run_is_exactly_one_with_all_its_values_however_often_it_is_sent(mlflow_url: str, tmp_path: Path) -> None:
    for _ in range(2):
        with contextlib.closing(_opened(tmp_path, mlflow_url)) as backend:
            [receipt] = backend.send([life(tmp_path / "outbox")])
            assert (receipt.stored, receipt.refused) == (len(NUMBERS) + 5, ())
        for entry in (tmp_path / "destinations" / "mlflow").iterdir():
            entry.unlink()  # the second time it has to find its run by itself
    experiment = asked(mlflow_url, "experiments/get-by-name?experiment_name=real")["experiment"]["experiment_id"]
    [run] = asked(mlflow_url, "runs/search", {"experiment_ids": [experiment]})["runs"]
    info, data = run["info"], run["data"]
    assert (info["run_name"], info["status"], info["start_time"]) == ("named", "FINISHED", BASE_MS + 1)
    assert info["end_time"] == BASE_MS + len(NUMBERS) + 5
    assert {item["key"]: item["value"] for item in data["params"]} == {"lr": "0.1", "net/depth": "2"}
    tags = {item["key"]: item["value"] for item in data["tags"] if not item["key"].startswith("mlflow.")}
    assert tags == {"a tag": "true", "flashtrial.run_id": "run_real", "flashtrial.config.lr": "0.2"}
    for name in ("loss", "_xe9__x40_x"):
        path = f"metrics/get-history?run_id={info['run_id']}&metric_key={name}"
        points = [(point["step"], str(float(point["value"]))) for point in asked(mlflow_url, path)["metrics"]]
        assert points == [(step, str(_as_kept(value))) for step, value in enumerate(NUMBERS)]
    [file] = asked(mlflow_url, f"artifacts/list?run_id={info['run_id']}&path=f/one/step_1")["files"]
    assert (file["path"], int(file["file_size"])) == ("f/one/step_1/o.txt", 5)


def test_the_manager_speaks_to_the_real_server(mlflow_url: str, tmp_path: Path) -> None:
    with contextlib.closing(MLflowManager(mlflow_url)) as manager:
        experiment = manager.get_experiment("by hand")
        assert manager.get_experiment("by hand") == experiment
        run_id = manager.create_run(experiment)
        manager.log_metric(run_id, "loss", 0.5, 3)
        manager.log_param(run_id, "lr", 0.1)
        (tmp_path / "a.txt").write_text("words")
        manager.log_artifact(run_id, tmp_path / "a.txt")
        manager.end_run(run_id)
    run = asked(mlflow_url, f"runs/get?run_id={run_id}")["run"]
    assert run["info"]["status"] == "FINISHED"
    assert [(each["key"], each["value"], each["step"]) for each in run["data"]["metrics"]] == [("loss", 0.5, 3)]
    assert run["data"]["params"] == [{"key": "lr", "value": "0.1"}]
    assert [file["path"] for file in asked(mlflow_url, f"artifacts/list?run_id={run_id}")["files"]] == ["a.txt"]


def _opened(home: Path, url: str) -> MlflowBackend:
    return open_backend(home, {"MLFLOW_TRACKING_URI": url})


def _as_kept(value: float) -> float:
    return value if math.isnan(value) or math.isfinite(value) else math.copysign(LARGEST, value)
