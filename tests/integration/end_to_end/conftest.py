"""One instance per module: `flashtrial up` in a process of its own, real workers under the real SDK loop."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from testkit.ports import free_port
from testkit.waiting import wait_until

START_S = 30.0
JOB_S = 60.0
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


class Instance:
    """A running `flashtrial up`, as a client without any SDK sees it."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.url = url
        self._http = urllib3.PoolManager()

    @property
    def key(self) -> str:
        return (self.home / "key").read_text().strip()

    def exports(self) -> dict[str, str]:
        """The environment that `flashtrial env` prints for the unmodified SDKs."""
        command = [sys.executable, "-m", "flashtrial.cli", "env", "--json"]
        printed = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=True)
        return {name: str(value) for name, value in json.loads(printed.stdout).items()}

    def environment(self) -> dict[str, str]:
        return {**os.environ, "FLASHTRIAL_HOME": str(self.home)}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON answer of one request that carries the key."""
        response = self._http.request(
            method,
            self.url + path,
            body=body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **headers},
            timeout=30.0,
            retries=False,
        )
        return response.status, json.loads(response.data) if response.data else None

    def endpoint(self, name: str, workers: int = 1, **variables: str) -> str:
        """The id of an endpoint made over GraphQL, as the SDK makes one."""
        given = {
            "name": name,
            "gpuIds": "ANY",
            "workersMin": 0,
            "workersMax": workers,
            "idleTimeout": 60,
            "type": "QB",
            "scalerType": "QUEUE_DELAY",
            "scalerValue": 4,
            "template": {
                "imageName": "local",
                "env": [{"key": key, "value": value} for key, value in variables.items()],
            },
        }
        query = "mutation saveEndpoint($input: EndpointInput!) { saveEndpoint(input: $input) { id name } }"
        status, answer = self.call("POST", "/graphql", {"query": query, "variables": {"input": given}})
        assert status == 200, answer
        return str(answer["data"]["saveEndpoint"]["id"])

    def submit(self, endpoint: str, request: dict[str, Any]) -> str:
        status, answer = self.call("POST", f"/v2/{endpoint}/run", {"input": request})
        assert status == 200, answer
        return str(answer["id"])

    def result(self, endpoint: str, job: str) -> dict[str, Any]:
        """The status object of `job` once it has ended."""

        def ended() -> dict[str, Any] | None:
            _status, answer = self.call("GET", f"/v2/{endpoint}/status/{job}")
            return answer if answer["status"] in ENDED else None

        return wait_until(ended, JOB_S, f"job {job} to end") or {}

    def run(self, endpoint: str, request: dict[str, Any]) -> dict[str, Any]:
        return self.result(endpoint, self.submit(endpoint, request))

    def close(self) -> None:
        self._http.clear()


@pytest.fixture(scope="module")
def instance(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A running instance with up to four workers; ended, with all that it started, after the module."""
    home = tmp_path_factory.mktemp("instance") / "home"
    port = free_port()
    log = (home.parent / "up.log").open("wb")
    command = [sys.executable, "-m", "flashtrial.cli", "up", "--port", str(port), "--workers", "4"]
    with log, subprocess.Popen(command, env={**os.environ, "FLASHTRIAL_HOME": str(home)}, stdout=log, stderr=log) as up:
        running = Instance(home, f"http://127.0.0.1:{port}")
        try:
            wait_until(lambda: _is_ready(running, up), START_S, "the instance to be ready")
            yield running
        finally:
            running.close()
            up.terminate()
            up.wait(timeout=30)


def _is_ready(running: Instance, up: "subprocess.Popen[bytes]") -> bool:
    assert up.poll() is None, (running.home.parent / "up.log").read_text()
    try:
        return running.call("GET", "/readyz")[0] == 200
    except (urllib3.exceptions.HTTPError, FileNotFoundError):
        return False
