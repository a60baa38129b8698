"""Records on the network volume: a worker that died with its container left them, and the next one sends them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flashtrial.tracking.sending.volume import is_leased
from flashtrial.worker.sync_keeper import choose_outbox
from testkit import wait_until
from testkit.leaks import processes_of_home
from testkit.tracking_server import tracking_server

pytestmark = pytest.mark.integration

CALL_S = 40.0
SUPPORT = Path(__file__).parents[2] / "support"
WORKER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
name, volume, support, *calls = sys.argv[1:]
sys.path.insert(0, support)
from flashtrial.worker.entrypoint import open_worker
from flashtrial.worker.worker_settings import WorkerSettings
from testkit.jobs import function_job

async def main():
    worker = open_worker(name, replace(WorkerSettings.from_environment(), volume=Path(volume)))
    for call in calls:
        print((await worker.handle(function_job(call)))["json_result"], flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""
TRAIN = """
def f():
    import flashtrial
    run = flashtrial.init(settings={"system_monitor": False})
    for step in range(5):
        run.log({"loss": 1.0 / (step + 1)})
    return run.id
"""


@contextlib.contextmanager
def machine(home: Path, volume: Path, url: str, *calls: str) -> Iterator["subprocess.Popen[str]"]:
    """A worker named as its home, whatever it started included; all of it is gone at once at the end of the block."""
    environment = {**os.environ, "FLASHTRIAL_HOME": str(home), "FLASHTRIAL_URL": url}
    command = [sys.executable, "-c", WORKER, home.name, str(volume), str(SUPPORT), *calls]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        try:
            yield worker
        finally:
            wait_until(lambda: not killed(home), what="the processes of a machine to go")


def killed(home: Path) -> list[psutil.Process]:
    left = processes_of_home(home)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return left


def test_the_next_worker_sends_what_one_left_that_died_with_its_container(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    with machine(tmp_path / "first", volume, "http://127.0.0.1:9", TRAIN) as first:
        assert first.stdout is not None
        run_id = first.stdout.readline().strip()
        left = volume / ".flashtrial" / "outbox" / "first"
        wait_until(lambda: [*left.glob(".sync.lease.*")], CALL_S, "the first worker's sync process to take the lease")
    assert is_leased(left)
    assert [*left.glob("*.journal")]
    assert not (tmp_path / "first" / "outbox").exists()
    for lease in left.glob(".sync.lease.*"):
        os.utime(lease, (0, 0))  # a minute and more goes by
    with (
        tracking_server(tmp_path / "server") as server,
        machine(tmp_path / "second", volume, f"http://127.0.0.1:{server.port}"),
    ):
        wait_until(lambda: server.get(f"/api/v1/runs/{run_id}").status == 200, CALL_S, "the run to arrive")
        wait_until(lambda: server.get(f"/api/v1/runs/{run_id}").json()["status"] == "finished", CALL_S, "its end")
        run = server.get(f"/api/v1/runs/{run_id}").json()
    assert run["points"] == {"loss": 5}


def test_the_operator_s_outbox_comes_before_the_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_outbox(tmp_path / "volume", "w/../1") == tmp_path / "volume" / ".flashtrial" / "outbox" / "1"
    assert choose_outbox(None, "w") == tmp_path / "home" / "outbox"
    monkeypatch.setenv("FLASHTRIAL_OUTBOX", str(tmp_path / "said"))
    assert choose_outbox(tmp_path / "volume", "w") == tmp_path / "said"


def test_a_volume_that_cannot_be_written_leaves_the_records_in_the_home(tmp_path: Path) -> None:
    (tmp_path / "volume").write_text("no directory")
    assert choose_outbox(tmp_path / "volume", "w") == tmp_path / "home" / "outbox"
