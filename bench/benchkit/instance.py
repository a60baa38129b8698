"""A server of ours, a process of its own in a home of its own."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

CLI = [sys.executable, "-m", "flashtrial.cli"]


class Server:
    """A server of `home`, over one connection that is kept alive."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url, self.database = home, url, home / "server.db"
        self._pool = urllib3.connection_from_url(url, maxsize=1, block=True)

    def ingest(self, body: bytes) -> None:
        answer = self._pool.request(
            "POST", "/api/v1/ingest", body=body, headers={"Content-Type": "application/msgpack"}
        )
        assert answer.status == 200, answer.data
        assert not any(result["refused"] for result in answer.json()["results"])

    def get(self, path: str) -> bytes:
        answer = self._pool.request("GET", path)
        assert answer.status == 200, answer.data
        return bytes(answer.data)

    def points(self, name: str, metric: str) -> int:
        """How many points of `metric` are stored in the runs of that name."""
        runs: list[dict[str, Any]] = json.loads(self.get("/api/v1/runs?limit=1000"))["runs"]
        return sum(run["points"].get(metric, 0) for run in runs if run["name"] == name)

    def close(self) -> None:
        self._pool.close()


@contextlib.contextmanager
def serving(home: Path) -> Iterator[Server]:
    """A running server, taken down at the end."""
    foreign = ("FLASHTRIAL_", "PLUTO_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    variables["FLASHTRIAL_HOME"] = str(home)
    up = [*CLI, "up", "--detach", "--no-runpod", "--port", "0"]
    subprocess.run(up, env=variables, check=True, stdout=subprocess.DEVNULL)
    try:
        server = Server(home, json.loads((home / "instance.json").read_bytes())["url"])
        with contextlib.closing(server):
            yield server
    finally:
        subprocess.run([*CLI, "down"], env=variables, check=True, stdout=subprocess.DEVNULL)
