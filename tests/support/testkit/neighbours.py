"""Clients of the neighbours' protocols, each in a process of its own and an environment of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uv

from testkit.tracking_server import TrackingClient

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
TIMEOUT_S = 150
INSTALL_TIMEOUT_S = 250


def url_of(client: TrackingClient) -> str:
    return f"http://127.0.0.1:{client.port}"


def told(python: Path | str, script: Path, folder: Path, variables: Mapping[str, str], *arguments: str) -> Any:
    """What `script` prints as its last line, in JSON; the script must succeed."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [str(python), str(script), *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == 0, f"{output}\n{errors}"
    return json.loads(output.splitlines()[-1])


def pluto_variables(client: TrackingClient, key: str = "any-key") -> dict[str, str]:
    urls = dict.fromkeys(("PLUTO_URL_APP", "PLUTO_URL_API", "PLUTO_URL_INGEST", "PLUTO_URL_PY"), url_of(client))
    return {**urls, "PLUTO_API_KEY": key, "PLUTO_DISABLE_TELEMETRY": "1"}


def mlflow_variables(url: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }


def interpreter_with(group: str, venv: Path) -> Path:
    """The interpreter of a new environment with a dependency group of pyproject.toml, and nothing of ours."""
    tool = uv.find_uv_bin()
    python = venv / "bin" / "python"
    subprocess.run([tool, "venv", "-q", "--python", sys.executable, str(venv)], check=True)
    subprocess.run(
        [tool, "pip", "install", "-q", "--python", str(python), "--group", f"{PROJECT}:{group}"],
        check=True,
        timeout=INSTALL_TIMEOUT_S,
    )
    return python
