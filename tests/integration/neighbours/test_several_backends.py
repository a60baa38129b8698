"""One run to several destinations at once: each gets all of it, and one that is down holds up no other."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flashtrial.tracking.journal.outbox import is_locked, lock_path
from flashtrial.tracking.journal.progress import read_dead
from testkit import free_port, wait_until
from testkit.neighbours import pluto_variables, told, url_of
from testkit.tracking_server import TrackingClient, tracking_server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

SCRIPT = Path(__file__).parent / "native_script.py"
WAIT_S = 60


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[TrackingClient]:
    """The server behind the foreign destinations."""
    with tracking_server(tmp_path / "elsewhere") as client:
        yield client


def variables(home: Path, native: TrackingClient, mlflow_url: str, foreign: TrackingClient) -> dict[str, str]:
    return {
        **pluto_variables(foreign),
        "FLASHTRIAL_HOME": str(home),
        "FLASHTRIAL_URL": url_of(native),
        "FLASHTRIAL_BACKENDS": "native,mlflow,pluto",
        "FLASHTRIAL_FINISH_TIMEOUT_S": "1",
        "MLFLOW_TRACKING_URI": mlflow_url,
    }


def finished(server: TrackingClient) -> list[dict[str, Any]]:
    return [run for run in server.get("/api/v1/runs").json()["runs"] if run["status"] == "finished"]


def losses(server: TrackingClient, run_id: str) -> list[object]:
    return [value for _, _, value in server.points(run_id, "loss")]


def end_sync(home: Path) -> None:
    """Kill the sync processes of one outbox."""

    def left() -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _syncs(process, home / "outbox")]

    for process in left():
        process.kill()
    wait_until(lambda: not left(), WAIT_S, "killed sync processes to go")


def _syncs(process: psutil.Process, outbox: Path) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return "flashtrial.tracking.sending.sync_main" in words and str(outbox) in words


@pytest.fixture(autouse=True)
def no_sync_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_sync(tmp_path / "home")


def wait_for_end_of_sync(home: Path) -> None:
    wait_until(lambda: not is_locked(lock_path(home / "outbox"), shared=False), WAIT_S, "the sync process to end")


def test_each_destination_has_the_whole_run(server: TrackingClient, elsewhere: TrackingClient, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = variables(home, server, url_of(elsewhere), elsewhere)
    run_id = told(sys.executable, SCRIPT, tmp_path / "work", environment)["id"]
    wait_until(lambda: len(finished(server)) == 1 and len(finished(elsewhere)) == 2, WAIT_S, "all to have the run")
    wait_for_end_of_sync(home)
    wanted: list[object] = [1.0, 0.5, "NaN", "Infinity"]
    assert losses(server, run_id) == wanted
    for run in finished(elsewhere):
        assert (run["project"], run["name"]) == ("several", "one for all")
        assert losses(elsewhere, run["id"]) == wanted
        [file] = elsewhere.get(f"/api/v1/runs/{run['id']}/files").json()["files"]
        content = elsewhere.get(f"/api/v1/runs/{run['id']}/files/{file['id']}/content")
        assert content.body == b"words of a file"
    assert not list((home / "outbox").glob("*.journal*")), "a journal is left although all have it"


def test_one_that_is_down_holds_up_no_other(server: TrackingClient, elsewhere: TrackingClient, tmp_path: Path) -> None:
    home = tmp_path / "home"
    nobody = f"http://127.0.0.1:{free_port()}"
    environment = variables(home, server, nobody, elsewhere)
    told(sys.executable, SCRIPT, tmp_path / "work", environment)
    wait_until(lambda: len(finished(server)) == len(finished(elsewhere)) == 1, WAIT_S, "the others to have the run")


def test_a_record_that_one_refuses_is_listed_for_that_one_alone(
    server: TrackingClient, elsewhere: TrackingClient, tmp_path: Path
) -> None:
    """Pluto's protocol has no negative steps and one group of a run; all that is around such records goes on."""
    home = tmp_path / "home"
    environment = variables(home, server, url_of(elsewhere), elsewhere)
    script = SCRIPT.with_name("refused_script.py")
    run_id = told(sys.executable, script, tmp_path / "work", environment)["id"]
    wait_until(lambda: len(finished(server)) == 1 and len(finished(elsewhere)) == 2, WAIT_S, "all to have the run")
    wait_for_end_of_sync(home)
    every = sorted([*range(120), -5])
    assert sorted(step for step, _, _ in server.points(run_id, "loss")) == every
    by_wire = {run["id"].startswith("pl"): run for run in finished(elsewhere)}
    for is_pluto, steps in ((False, every), (True, list(range(120)))):
        run = by_wire[is_pluto]["id"]
        assert sorted(step for step, _, _ in elsewhere.points(run, "loss")) == steps
        assert [value for _, _, value in elsewhere.points(run, "late")] == [1.0]
    assert by_wire[True]["tags"] == ["group:a", "later"]
    assert by_wire[False]["tags"] == ["group:a=true", "group:b=true", "later=true"]
    [dead] = (home / "outbox").glob("*.dead")
    assert dead.name.endswith(".pluto.dead")
    reasons = [record.reason for record in read_dead(dead)]
    assert ["steps below 0" in reasons[0], "at most one group" in reasons[1], len(reasons)] == [True, True, 2]
