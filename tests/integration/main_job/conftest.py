"""The main job as a user runs it: one home for the module, every command a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

REPOSITORY = Path(__file__).parents[3]
RUN_TIMEOUT_S = 240


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    output: str
    wall_s: float


class Machine:
    """A fresh home, and commands in it; `cwd` is where scripts run."""

    def __init__(self, home: Path, cwd: Path) -> None:
        self.home = home
        self.cwd = cwd

    def __call__(self, *arguments: str, timeout_s: float = RUN_TIMEOUT_S) -> Ran:
        """``flashtrial`` with these arguments, its two streams as one."""
        started = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-m", "flashtrial.cli", *arguments],
            cwd=self.cwd,
            env={**os.environ, "FLASHTRIAL_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Ran(ended.returncode, ended.stdout, time.monotonic() - started)

    def runs(self) -> list[dict[str, Any]]:
        """What ``flashtrial runs --json`` prints."""
        listed = json.loads(self("runs", "--json").output)
        assert isinstance(listed, list)
        return listed

    def processes(self) -> list[psutil.Process]:
        """Every living process that works in this home."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            living = process.status() != psutil.STATUS_ZOMBIE
            return living and process.environ().get("FLASHTRIAL_HOME") == str(self.home)
        except (psutil.Error, OSError):  # gone meanwhile, or not ours to read
            return False


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A home in which nothing has run yet; what runs at the end is taken down."""
    made = Machine(tmp_path_factory.mktemp("main-job") / "home", tmp_path_factory.mktemp("main-job-cwd"))
    yield made
    assert made("down").code == 0
