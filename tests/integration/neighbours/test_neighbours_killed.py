"""The server is killed, again and again, while real clients log: they send again, and every value is there once."""

import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flashtrial.server.views import read_runs, verify_counts
from testkit import free_port
from testkit.neighbours import mlflow_variables, pluto_variables, told
from testkit.tracking_server import TrackingClient
from testkit.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
COUNT = 400
KILLS = 3
WAIT_S = 60


class KilledServer:
    """A server process on one port that comes back with all that it had stored."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serving when this returns."""
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "serve_on_port.py"), str(self.port)],
            env={**os.environ, "FLASHTRIAL_HOME": str(self._home)},
        )
        wait_until(self._answers, WAIT_S, "the server to serve")

    def kill(self) -> None:
        """SIGKILL. Calling twice is safe."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def points(self) -> int:
        """How many points are stored, of all series."""
        path = self._home / "server.db"
        return sum(sum(run["points"].values()) for run in read_runs(path)) if path.exists() else 0

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2):
            return True
        return False


@pytest.fixture
def killed_server(tmp_path: Path) -> Iterator[KilledServer]:
    server = KilledServer(tmp_path / "server-home")
    server.start()
    try:
        yield server
    finally:
        server.kill()


def told_through_kills(
    server: KilledServer, python: Path | str, script: str, variables: Mapping[str, str], folder: Path, *, seed: int
) -> Any:
    """What the client tells at its end, its server having been killed at seeded moments of its work."""
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(1, COUNT), KILLS))
    with ThreadPoolExecutor(1) as pool:
        client: Future[Any] = pool.submit(told, python, HERE / script, folder, variables, str(COUNT))
        for moment in moments:
            wait_until(lambda m=moment: server.points() >= m or client.done(), WAIT_S, f"{moment} points")  # type: ignore[misc]
            server.kill()
            server.start()
        return client.result()


@contextlib.contextmanager
def speaking_to(server: KilledServer) -> Iterator[TrackingClient]:
    client = TrackingClient(server.port)
    try:
        yield client
    finally:
        client.close()


def check_nothing_is_doubled(home: Path, run_id: str) -> None:
    assert [count["doubled"] for count in verify_counts(home / "server.db", run_id)] == [0]


@pytest.mark.parametrize("seed", [1, 2])
def test_mlflows_client_has_every_point_once(killed_server: KilledServer, tmp_path: Path, seed: int) -> None:
    variables = {
        **mlflow_variables(f"http://127.0.0.1:{killed_server.port}"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "9",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    }
    said = told_through_kills(
        killed_server, sys.executable, "mlflow_killed_script.py", variables, tmp_path / "w", seed=seed
    )
    with speaking_to(killed_server) as client:
        for name, part in (("single", 0.25), ("batched", 0.5)):
            path = f"/api/2.0/mlflow/metrics/get-history?run_id={said['id']}&metric_key={name}"
            history = [(point["step"], point["value"]) for point in client.get(path).json()["metrics"]]
            assert sorted(history) == [(step, step + part) for step in range(COUNT)]
        [run] = client.get("/api/v1/runs").json()["runs"]
        assert (run["status"], run["config"], run["name"]) == ("finished", {"lr": "0.1"}, "survivor")
    check_nothing_is_doubled(tmp_path / "server-home", run["id"])


@pytest.mark.network
@pytest.mark.parametrize("seed", [1])
def test_plutos_client_has_every_point_and_text_once(
    pluto_python: Path, killed_server: KilledServer, tmp_path: Path, seed: int
) -> None:
    with speaking_to(killed_server) as client:
        variables = pluto_variables(client)
        told_through_kills(killed_server, pluto_python, "pluto_killed_script.py", variables, tmp_path / "w", seed=seed)
        [run] = client.get("/api/v1/runs").json()["runs"]
        points = [(step, value) for step, _, value in client.points(run["id"], "loss")]
        assert points == [(step, step + 0.25) for step in range(COUNT)]
        words = client.get(f"/api/v1/runs/{run['id']}/data?name=word&limit=1000").json()["data"]
        assert sorted((word["step"], word["value"]) for word in words) == [(n, f"w{n}") for n in range(COUNT)]
        assert (run["status"], run["name"]) == ("finished", "survivor")
    check_nothing_is_doubled(tmp_path / "server-home", run["id"])
