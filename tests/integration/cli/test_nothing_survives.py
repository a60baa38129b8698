"""What user code started ends with its worker, however that ends, and nothing keeps the next instance from working."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testkit import free_port, wait_until

from .conftest import Flashtrial

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# A grandchild in a session of its own: neither a signal to the worker's group nor the child's death reaches it.
LEAVES_ONE_BEHIND = """
def f(note):
    import pathlib, subprocess, time
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    beside = pathlib.Path(note + ".part")
    beside.write_text(str(other.pid))
    beside.rename(note)
    time.sleep(600)
"""


@pytest.fixture
def grandchild(flashtrial_cli: Flashtrial, tmp_path: Path) -> Iterator[psutil.Process]:
    """What a running call has started."""
    note = tmp_path / "pid"
    assert flashtrial_cli("up", "--detach", "--port", str(free_port())).returncode == 0
    flashtrial_cli.occupy(LEAVES_ONE_BEHIND, str(note))
    wait_until(note.exists, 20, "the grandchild")
    process = psutil.Process(int(note.read_text()))
    yield process
    if not is_gone(process):
        process.kill()


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; somebody else reaps it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_down_leaves_no_grandchild(flashtrial_cli: Flashtrial, grandchild: psutil.Process) -> None:
    assert "stopped" in flashtrial_cli("down").stdout
    wait_until(lambda: is_gone(grandchild), 10, "the grandchild's end")


def test_a_killed_worker_leaves_no_grandchild(flashtrial_cli: Flashtrial, grandchild: psutil.Process) -> None:
    (worker,) = psutil.Process(flashtrial_cli.instance()["pid"]).children()
    worker.kill()
    wait_until(lambda: is_gone(grandchild), 10, "the grandchild's end")


def test_a_killed_instance_leaves_no_grandchild(flashtrial_cli: Flashtrial, grandchild: psutil.Process) -> None:
    os.kill(flashtrial_cli.instance()["pid"], signal.SIGKILL)
    wait_until(lambda: is_gone(grandchild), 20, "the grandchild's end")


def test_what_outlived_instance_and_worker_ends_with_the_next_start(
    flashtrial_cli: Flashtrial, grandchild: psutil.Process
) -> None:
    instance = psutil.Process(flashtrial_cli.instance()["pid"])
    (worker,) = instance.children()
    worker.suspend()  # so that it cannot clean up after the instance
    instance.kill()
    worker.kill()
    wait_until(lambda: is_gone(worker), what="the worker's end")
    assert flashtrial_cli("up", "--detach", "--port", str(free_port())).returncode == 0
    wait_until(lambda: is_gone(grandchild), 10, "the grandchild's end")


def test_the_sync_process_is_spared_and_sends_what_a_killed_worker_logged(flashtrial_cli: Flashtrial) -> None:
    source = "def f():\n    import flashtrial, time\n    flashtrial.init(project='spared')\n    time.sleep(600)\n"
    assert flashtrial_cli("up", "--detach", "--port", str(free_port())).returncode == 0
    status = flashtrial_cli.occupy(source)
    lock = flashtrial_cli.home / "outbox" / "sync.json"
    wait_until(lock.exists, 20, "the sync process")
    sync = psutil.Process(json.loads(lock.read_text())["pid"])
    sync.suspend()
    try:
        (worker,) = psutil.Process(flashtrial_cli.instance()["pid"]).children()
        worker.kill()
        health = status.partition("/status/")[0] + "/health"
        wait_until(lambda: not any(flashtrial_cli.ask(health)["workers"].values()), 10, "the worker to be cleaned up")
        assert not is_gone(sync)
    finally:
        sync.resume()
    wait_until(lambda: "spared" in flashtrial_cli("runs").stdout, 20, "the run to arrive")
