"""A machine that is gone with everything on it: its runs are marked by the server, and come back when it does."""

import pytest

from testkit import wait_until
from testkit.tracking_server import tracking_server

from .conftest import TIMEOUT_S, Lab

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LOG_FOR_EVER = """
import itertools, time, flashtrial
run = flashtrial.init(run_id="run_1", resume=True)
for number in itertools.count():
    run.log({"loss": 1.0})
    time.sleep(0.02)
"""
SILENT_AFTER_S = 16.0  # sync processes are heard every fifteen


def test_a_run_whose_trainer_and_sync_process_are_killed_is_marked_and_goes_on_when_it_is_resumed(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with tracking_server(tmp_path_factory.mktemp("server") / "home", silent_after_s=SILENT_AFTER_S) as server:
        lab.url = f"http://127.0.0.1:{server.port}"

        def status() -> str | None:
            answer = server.get("/api/v1/runs/run_1")
            return answer.json()["status"] if answer.status == 200 else None

        def is_heard() -> bool:
            return status() == "running" and server.get("/api/v1/runs/run_1").json()["writers"][0]["state"] == "alive"

        lab.start(LOG_FOR_EVER)
        wait_until(is_heard, TIMEOUT_S, "the first heartbeat")
        lab.end_sync()
        lab.end_started()
        wait_until(lambda: status() == "interrupted", TIMEOUT_S, "the server to notice")
        assert server.get("/api/v1/runs/run_1").json()["reason"].startswith("nothing was heard of ")
        lab.start(LOG_FOR_EVER)
        wait_until(lambda: status() == "running", TIMEOUT_S, "the run to go on")
