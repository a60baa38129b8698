"""The test ground itself: what a module leaves behind fails it, and what it cleans up does not."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit.leaks import holdings

TESTS = Path(__file__).parents[1]
SETTINGS = [
    "-opythonpath=support",
    "-oasyncio_mode=auto",
    "-oasyncio_default_fixture_loop_scope=function",
    "-omarkers=unit",
    "-pno:cacheprovider",
    "--basetemp=scratch",
]

CLEAN = """
import asyncio, os, subprocess
async def test_async_child_is_awaited():
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
def test_home_is_its_own_and_the_environment_is_clean(tmp_path):
    assert os.environ["FLASHTRIAL_HOME"] == str(tmp_path / "home")
    assert "RUNPOD_API_KEY" not in os.environ and "MLOP_API_TOKEN" not in os.environ
"""
CHILD = """
import subprocess
kept = []
def test_leaves_a_child(): kept.append(subprocess.Popen(["sleep", "61"]))
"""
DETACHED = """
import subprocess
def test_leaves_a_process_that_is_nobodys_child():
    subprocess.run(["sh", "-c", "setsid sleep 62 >/dev/null 2>&1 &"], check=True)
"""
PIPE = """
import os
def test_leaves_a_pipe(): os.pipe()
"""
SHARED = """
from multiprocessing.shared_memory import SharedMemory
kept = []
def test_leaves_shared_memory(): kept.append(SharedMemory(create=True, size=10))
"""


@pytest.fixture
def run_pytest(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Run a module's source under our own conftest, with less patience for leaks, and give what pytest printed."""
    shutil.copytree(TESTS / "support", tmp_path / "support")
    conftest = (TESTS / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest.replace("_LEAK_GRACE_S = 5.0", "_LEAK_GRACE_S = 0.3"))
    (tmp_path / "unit").mkdir()

    def run(source: str, *options: str) -> str:
        (tmp_path / "unit" / "test_sample.py").write_text(source)
        command = [sys.executable, "-m", "pytest", "--import-mode=importlib", *SETTINGS, *options, "."]
        environment = {**os.environ, "RUNPOD_API_KEY": "x", "MLOP_API_TOKEN": "y"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    yield run
    for process in holdings(tmp_path).processes:
        process.kill()


@pytest.mark.parametrize("options", [[], ["-n2"]], ids=["one process", "xdist"])
def test_clean_module_passes(run_pytest: Callable[..., str], options: list[str]) -> None:
    assert "2 passed" in run_pytest(CLEAN, *options)


@pytest.mark.parametrize(
    ("source", "named"),
    [(CHILD, "sleep 61"), (DETACHED, "sleep 62"), (PIPE, "pipe:["), (SHARED, "/dev/shm/psm_")],
    ids=["child", "detached", "pipe", "shared memory"],
)
def test_module_that_leaves_something_behind_fails_and_says_what(
    run_pytest: Callable[..., str], source: str, named: str
) -> None:
    said = run_pytest(source)
    assert "1 passed, 1 error" in said
    assert named in said.split("this module left behind:")[1]
