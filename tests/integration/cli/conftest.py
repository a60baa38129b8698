"""The command as a user runs it: processes of their own, in the test's home, nothing left behind."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from testkit import wait_until
from testkit.jobs import function_job

TIMEOUT_S = 50


class Flashtrial:
    """Runs ``flashtrial`` commands in one home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flashtrial.cli", *arguments]

    def __call__(self, *arguments: str, cwd: Path | None = None, **given: str) -> subprocess.CompletedProcess[str]:
        """The command's end, with `given` in its environment."""
        return subprocess.run(
            self.argv(*arguments),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=cwd,
            env=self.environment(given),
            stdin=subprocess.DEVNULL,
        )

    def environment(self, given: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "FLASHTRIAL_HOME": str(self.home), **(given or {})}

    def instance(self) -> dict[str, Any]:
        """What the running instance says of itself."""
        fields = json.loads((self.home / "instance.json").read_text())
        assert isinstance(fields, dict)
        return fields

    def ask(self, path: str, body: object = None) -> Any:
        """What the running instance's local RunPod answers; with a body it is a POST."""
        key = (self.home / "key").read_text().strip()
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.instance()["url"] + path, content, {"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def occupy(self, source: str, *args: object) -> str:
        """The path of the status of a job that runs ``f(*args)`` of `source` and has begun."""
        query = 'mutation { saveEndpoint(input: {name: "busy", workersMax: 1}) { id } }'
        endpoint_id = self.ask("/graphql", {"query": query})["data"]["saveEndpoint"]["id"]
        job_id = self.ask(f"/v2/{endpoint_id}/run", {"input": function_job(source, "f", *args)["input"]})["id"]
        path = f"/v2/{endpoint_id}/status/{job_id}"
        wait_until(lambda: self.ask(path)["status"] == "IN_PROGRESS", 40, "the call to begin")
        return path


@pytest.fixture
def flashtrial_cli(flashtrial_home: Path) -> Iterator[Flashtrial]:
    """The command in this test's home; an instance that the test left up is taken down."""
    cli = Flashtrial(flashtrial_home)
    yield cli
    ended = cli("down")
    assert ended.returncode == 0, ended.stderr
