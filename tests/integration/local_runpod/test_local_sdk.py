"""The unmodified runpod-flash and runpod SDKs, in processes of their own, against the local RunPod."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HERE = Path(__file__).parent


def client_environment(instance: Instance) -> dict[str, str]:
    """What an unmodified client needs; the SDK reads it when it is imported."""
    return {
        **os.environ,
        "RUNPOD_API_KEY": instance.key,
        "FLASH_IS_LIVE_PROVISIONING": "true",
        "RUNPOD_FLASH_SILENCE_DEPRECATION": "1",
        "RUNPOD_API_BASE_URL": instance.url,
        "RUNPOD_ENDPOINT_BASE_URL": f"{instance.url}/v2",
        "RUNPOD_REST_API_URL": f"{instance.url}/v1",
        "RUNPOD_HAPI_URL": instance.url,
        "RUNPOD_CONSOLE_URL": instance.url,
        "NO_PROXY": "127.0.0.1",
    }


def run_script(instance: Instance, directory: Path, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=directory,
        env=client_environment(instance),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def answers(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")]
    assert lines, done.stdout + done.stderr
    return dict(json.loads(lines[0].removeprefix("ANSWERS ")))


@pytest.fixture(scope="module")
def first_run(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Where the SDK's script ran first, and what it got."""
    directory = tmp_path_factory.mktemp("sdk")
    return directory, answers(run_script(instance, directory, HERE / "sdk_script.py", "1"))


def test_remote_and_endpoint_of_the_stock_sdk_work(first_run: tuple[Path, dict[str, Any]]) -> None:
    _, got = first_run
    assert (got["add"], got["add_async"], got["total"], got["double"]) == (5, 7, 10.0, 42)
    assert "ValueError: it broke" in got["broken"]


def test_a_second_run_of_a_script_finds_its_endpoint_unchanged(
    instance: Instance, first_run: tuple[Path, dict[str, Any]]
) -> None:
    """The client compares what it remembers with what it was told; a difference costs it three requests a start."""

    def versions() -> dict[str, int]:
        query = {"query": "{ myself { endpoints { name version } } }"}
        endpoints = instance.client.post("/graphql", json=query).json()["data"]["myself"]["endpoints"]
        return {endpoint["name"]: endpoint["version"] for endpoint in endpoints}

    directory, _ = first_run
    before = versions()
    answers(run_script(instance, directory, HERE / "sdk_script.py", "0"))
    assert versions() == before
    assert before["live-old-spelling"] == 1


RUNPOD_SCRIPT = """
import json, os, sys, runpod
runpod.api_key = os.environ["RUNPOD_API_KEY"]
endpoint = runpod.Endpoint(sys.argv[1])
job = endpoint.run({"do": "echo", "x": 1})
answers = {"output": job.output(timeout=60), "status": job.status(), "health": endpoint.health()}
answers["sync"] = endpoint.run_sync({"do": "echo", "x": 2}, timeout=60)
answers["stream"] = list(endpoint.run({"do": "stream"}).stream())
answers["cancel"] = endpoint.run({"do": "wait"}).cancel()["status"]
answers["purge"] = endpoint.purge_queue()
print("ANSWERS " + json.dumps(answers))
"""


def test_the_endpoint_client_of_the_runpod_sdk_works(instance: Instance, endpoint_id: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(RUNPOD_SCRIPT)
    got = answers(run_script(instance, tmp_path, script, endpoint_id))
    assert (got["output"], got["status"]) == ({"do": "echo", "x": 1}, "COMPLETED")
    assert got["sync"] == {"do": "echo", "x": 2}
    assert got["stream"] == [0, 1, 2]
    assert got["cancel"] == "CANCELLED"
    assert got["health"]["workers"]["ready"] == 1
