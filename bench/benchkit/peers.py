"""Other trackers, each installed into an environment of its own and run by a script of bench/peers/ in a process.

Versions are in pyproject.toml, group `bench-peers`; environments in .venv-peers/, one for each requirement and Python.
A peer that cannot be installed is told as "not available".
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uv

from benchkit.processes import PeerFailed, run

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "bench" / "peers"
VENVS = ROOT / ".venv-peers"
INSTALL_TIMEOUT_S = 300
NOT_AVAILABLE = "not available"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "NO_PROXY": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody whose `log` is measured: us, a floor (no `distribution`: our interpreter), or a peer."""

    name: str
    script: str
    distribution: str = ""
    statement: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    needs_server: bool = False

    def python(self) -> Path:
        """Its interpreter, installed when there is none yet. Raises `PeerFailed`."""
        return interpreter(self.distribution) if self.distribution else Path(sys.executable)


OURS = Subject("flashtrial", "with_flashtrial.py", "", "import flashtrial")
FLOORS = (
    Subject("JSON line + write", "with_json_lines.py"),
    Subject("orjson + crc32 + write", "with_orjson_frames.py"),
    Subject("SQLite WAL commit", "with_sqlite_commits.py"),
)
PEERS = (
    Subject(
        "pluto-ml",
        "with_pluto.py",
        "pluto-ml",
        "import pluto",
        {"PLUTO_API_KEY": "bench", "PLUTO_DISABLE_TELEMETRY": "1"},
        needs_server=True,
    ),
    Subject(
        "wandb offline",
        "with_wandb.py",
        "wandb",
        "import wandb",
        {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"},
    ),
    Subject("trackio", "with_trackio.py", "trackio", "import trackio"),
    Subject("tensorboardX", "with_tensorboardx.py", "tensorboardX", "from tensorboardX import SummaryWriter"),
    Subject("aim", "with_aim.py", "aim", "import aim", {"AIM_UI_TELEMETRY_ENABLED": "0"}),
    Subject(
        "MLflow file store",
        "with_mlflow.py",
        "mlflow",
        "import mlflow",
        {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"},
    ),
)


def requirement(distribution: str) -> str:
    group: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["bench-peers"]
    [found] = [each for each in group if each.startswith(distribution)]
    return found


def interpreter(distribution: str) -> Path:
    """That of an environment with this distribution alone. One that failed is tried again by the next run only."""
    wanted = requirement(distribution)
    key = hashlib.sha256(f"{wanted} {sys.version}".encode()).hexdigest()[:10]
    venv = VENVS / f"{distribution}-{key}"
    stamp, refused = venv / "installed", venv / f"failed-{os.getppid()}"
    if refused.exists():
        raise PeerFailed(refused.read_text())
    if not stamp.exists():
        install(wanted, venv, refused)
        stamp.touch()
    return venv / "bin" / "python"


def install(wanted: str, venv: Path, refused: Path) -> None:
    tool = uv.find_uv_bin()
    python = venv / "bin" / "python"
    try:
        subprocess.run([tool, "venv", "-q", "--clear", "--python", sys.executable, venv], check=True)
        command: list[str | Path] = [tool, "pip", "install", "-q", "--python", python, wanted]
        subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT_S, stdout=sys.stderr)
    except (OSError, subprocess.SubprocessError) as error:
        venv.mkdir(parents=True, exist_ok=True)
        refused.write_text(NOT_AVAILABLE)
        raise PeerFailed(NOT_AVAILABLE) from error


def environment(subject: Subject, directory: Path, more: Mapping[str, str]) -> dict[str, str]:
    """A home of its own, nothing of ours, no telemetry."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLASHTRIAL_", "PLUTO_", "WANDB_"))
    }
    ours = {} if subject.distribution else {"PYTHONPATH": str(ROOT / "bench")}
    own = {"HOME": str(directory), "TRACKIO_DIR": str(directory / "trackio"), "no_proxy": "127.0.0.1"}
    return {**kept, **OFFLINE, **own, **ours, **subject.variables, **more}


def ask(  # noqa: PLR0917
    subject: Subject,
    job: str,
    directory: Path,
    calls: int,
    most_s: float,
    more: Mapping[str, str],
    *,
    timeout_s: float = 120,
) -> dict[str, Any]:
    """What the subject's script tells of `job`: `log`, `kill`, `finish` or `count` (see bench/peers/subject.py).

    Raises `PeerFailed` where it tells nothing, or its end is not the one that the job has.
    """
    python = subject.python()
    directory.mkdir(parents=True, exist_ok=True)
    result = directory / f"{job}.json"
    command = [python, SCRIPTS / subject.script, job, directory, result, str(calls), str(most_s)]
    linger_s = 5.0 if job == "kill" else 0.0  # what a killed trainer leaves behind may finish its work
    status = run(command, environment(subject, directory, more), directory, timeout_s, linger_s)
    if status != (-signal.SIGKILL if job == "kill" else 0) or not result.exists():
        last = (directory / "said").read_text(errors="replace").strip().splitlines()[-1:]
        raise PeerFailed(f"{job} ended with {status}: {''.join(last)[:120]}")
    told: dict[str, Any] = json.loads(result.read_bytes())
    return told


def version(subject: Subject) -> str:
    """The installed version, or why there is none."""
    code = f"import importlib.metadata as m; print(m.version({subject.distribution!r}))"
    try:
        return subprocess.run(
            [subject.python(), "-c", code], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
    except (PeerFailed, subprocess.SubprocessError):
        return NOT_AVAILABLE
