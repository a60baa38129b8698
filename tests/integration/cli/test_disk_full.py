"""An instance whose files cannot grow says so, goes on, and makes up for it when they can again.

One whose disk is full is up: commands find it and say what to do.
"""

import os
import resource
import urllib.error
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import urllib3
from typer.testing import CliRunner

from flashtrial.cli import instance, ping, probe, up
from flashtrial.cli.main import app
from testkit import free_port, wait_until
from testkit.disks import fill, mounted
from testkit.tracking_server import tracking_server

from .conftest import Flashtrial

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WITHOUT_WORKERS = 'mutation { saveEndpoint(input: {name: "waits", workersMax: 0}) { id } }'
FOREVER = "def f():\n    import time\n    time.sleep(600)\n"


class Disk:
    """The files of a process, which may grow or not. A limit on a process stands for a full disk of all."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def fill(self, limit_bytes: int) -> None:
        """Let no file become longer than `limit_bytes`."""
        self._process.rlimit(psutil.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))

    def free(self) -> None:
        self._process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture
def disk(flashtrial_cli: Flashtrial) -> Iterator[Disk]:
    assert flashtrial_cli("up", "--detach", "--port", str(free_port())).returncode == 0
    disk = Disk(psutil.Process(flashtrial_cli.instance()["pid"]))
    yield disk
    if flashtrial_cli("status").returncode == 0:
        disk.free()


def says(cli: Flashtrial, words: str) -> bool:
    """Whether the instance's log has these words."""
    return words in (cli.home / "logs" / "server.log").read_text()


def test_what_could_not_be_written_is_done_when_it_can_be(flashtrial_cli: Flashtrial, disk: Disk) -> None:
    running = flashtrial_cli.occupy(FOREVER)
    (worker,) = psutil.Process(flashtrial_cli.instance()["pid"]).children()
    endpoint_id = flashtrial_cli.ask("/graphql", {"query": WITHOUT_WORKERS})["data"]["saveEndpoint"]["id"]
    job = {"input": {"pad": "x" * 100_000}, "policy": {"ttl": 1500}}
    waiting = flashtrial_cli.ask(f"/v2/{endpoint_id}/run", job)["id"]
    disk.fill((flashtrial_cli.home / "local_runpod.db-wal").stat().st_size)
    with pytest.raises(urllib.error.HTTPError) as refused:
        flashtrial_cli.ask(f"/v2/{endpoint_id}/run", job)
    assert refused.value.code == 503
    assert "local_runpod.db cannot be written" in refused.value.read().decode()
    worker.kill()
    for action in ("a worker's jobs", "the queue"):
        wait_until(partial(says, flashtrial_cli, f"{action} cannot be seen to"), 20, action)
    assert not says(flashtrial_cli, "Traceback")
    disk.free()
    wait_until(lambda: "time to live" in flashtrial_cli.ask(f"/v2/{endpoint_id}/status/{waiting}").get("error", ""), 20)
    wait_until(lambda: "worker lost" in flashtrial_cli.ask(running).get("error", ""), 20)
    again = flashtrial_cli.occupy(FOREVER)
    assert again != running


def test_it_ends_well_on_a_full_disk(flashtrial_cli: Flashtrial, disk: Disk) -> None:
    flashtrial_cli.occupy(FOREVER)
    instance = psutil.Process(flashtrial_cli.instance()["pid"])
    (worker,) = instance.children()
    disk.fill((flashtrial_cli.home / "local_runpod.db-wal").stat().st_size)
    worker.kill()
    wait_until(lambda: says(flashtrial_cli, "a worker's jobs cannot be seen to"), 20)
    assert "stopped the instance" in flashtrial_cli("down").stdout
    assert not says(flashtrial_cli, "Traceback")


def test_commands_find_an_instance_whose_disk_is_full(flashtrial_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "READY_DEADLINE_S", 5.0)
    said: list[str] = []
    with (
        mounted(flashtrial_home, "size=4m,mode=700"),
        tracking_server(flashtrial_home) as server,
        urllib3.PoolManager() as pool,
    ):
        monkeypatch.setattr(probe, "_pool", lambda: pool)  # the command's own stays open as long as its process
        running = instance.Instance(os.getpid(), f"http://127.0.0.1:{server.port}", server.port, 1, "1", runpod=False)
        with instance.claim(flashtrial_home):
            instance.write(flashtrial_home, running)
            fill(flashtrial_home / "checkpoint.pt")
            assert up.ensure(flashtrial_home, said.append) == running
            answer = ping.ping(flashtrial_home)["server"]
            status = CliRunner().invoke(app, ["status"])
    words = "the disk is full: make room on it, or remove runs"
    assert said == [f"{flashtrial_home}: {words}"]
    assert (answer.up, answer.detail) == (True, words)
    assert (status.exit_code, status.output.splitlines()[1]) == (0, words)
