"""Runs to different servers in one home, writers that are killed, and the soak in small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flashtrial.core.files import ensure_private_dir
from flashtrial.tracking.journal.handover import HandoverPipe, hand_over
from flashtrial.tracking.settings.credentials import Credentials
from testkit import wait_until
from testkit.tracking_server import TrackingClient

from .conftest import Lab, StandIn, kill

pytestmark = pytest.mark.integration

SOAK = Path(__file__).resolve().parents[3] / "bench" / "soak_tracking.py"
LOG_AND_WAIT = "import flashtrial, signal; flashtrial.init(run_id={run!r}).log({{'x': 1.0}}); signal.pause()"


def test_runs_to_different_servers_in_one_home_each_reach_theirs_with_their_own_token(lab: Lab) -> None:
    with StandIn() as first, StandIn() as second:
        first.token, second.token = "token-a", "token-b"
        script = LOG_AND_WAIT.format(run="run_a")
        trainer = lab.start(script, FLASHTRIAL_URL=first.url, FLASHTRIAL_TOKEN=first.token)
        wait_until(lambda: first.backend.records("run_a"), 30, "the records of the first")
        # The sync process is there and was started for the first server, with the token of that one.
        script = "import flashtrial\nwith flashtrial.init(run_id='run_b') as run: run.log({'x': 1.0})\nrun.finish()"
        ended = lab.run(script, FLASHTRIAL_URL=second.url, FLASHTRIAL_TOKEN=second.token)
        assert ended.status == 0, ended
        kill(trainer)
        lab.wait_until_synced()
        assert {record.run_id for record in first.backend.stored.values()} == {"run_a"}
        assert {record.run_id for record in second.backend.stored.values()} == {"run_b"}
        assert {headers.get("Authorization") for headers in first.headers} == {"Bearer token-a"}
        assert {headers.get("Authorization") for headers in second.headers} <= {None, "Bearer token-b"}
        assert "token-" not in "".join(path.read_text("latin-1") for path in lab.home.rglob("*") if path.is_file())


def test_runs_of_two_logins_in_one_outbox_each_reach_their_own_server(lab: Lab, tmp_path: Path) -> None:
    """The sync process is started by the trainer that names its server, and ends after the other one logged in anew."""
    dies = "import flashtrial, os\nflashtrial.init(run_id={run!r}).log({{'x': 1.0}})\nos._exit(0)"
    other_home = tmp_path / "other-home"
    with StandIn() as named, StandIn() as of_login, StandIn() as later:
        of_login.token = "token-of-login"
        credentials = Credentials(of_login.url, {of_login.url: "token-of-login"})
        credentials.write(ensure_private_dir(other_home))
        other = {"FLASHTRIAL_HOME": str(other_home), "FLASHTRIAL_OUTBOX": str(lab.outbox), "FLASHTRIAL_WORKER_ID": ""}
        # Nobody sends yet: a thread that dies with its trainer may at most begin.
        lab.run(dies.format(run="run_a"), **other, FLASHTRIAL_SYNC_PROCESS_ENABLED="0")
        Credentials(later.url, dict(credentials.tokens)).write(other_home)
        lab.run(dies.format(run="run_b"), FLASHTRIAL_URL=named.url, FLASHTRIAL_TOKEN="token-of-named")
        lab.wait_until_synced()
        stored = [{run for run, _, _ in server.backend.stored} for server in (named, of_login, later)]
        shown = {headers.get("Authorization") for headers in of_login.headers}
    assert stored == [{"run_b"}, {"run_a"}, set()]
    assert shown == {"Bearer token-of-login"}


def test_a_token_that_is_refused_gives_way_to_the_one_of_a_trainer_that_comes_later(lab: Lab) -> None:
    with StandIn() as server:
        server.token = "token-that-is-good"
        lab.url = server.url
        trainer = lab.start(LOG_AND_WAIT.format(run="run_a"), FLASHTRIAL_TOKEN="token-that-is-not")
        wait_until(lambda: server.headers, 30, "a first attempt")
        assert not server.backend.stored
        script = "import flashtrial\nwith flashtrial.init(run_id='run_b') as run: run.log({'x': 1.0})"
        assert lab.run(script, FLASHTRIAL_TOKEN="token-that-is-good").status == 0
        kill(trainer)
        lab.wait_until_synced()
        assert {run for run, _, _ in server.backend.stored} == {"run_a", "run_b"}
        assert "token-" not in "".join(path.read_text("latin-1") for path in lab.home.rglob("*") if path.is_file())


def test_a_killed_trainer_is_told_of_with_what_is_known_of_why(lab: Lab) -> None:
    with StandIn() as server:
        lab.url = server.url
        trainer = lab.start(LOG_AND_WAIT.format(run="run_1"))
        wait_until(lambda: server.notices("alive"), 30, "the trainer to be told of")
        kill(trainer)
        lab.wait_until_synced()
        [notice] = server.notices("gone")
        assert (notice["run_id"], notice["role"], notice["ended"]) == ("run_1", "owner", False)
        assert f"process {trainer.pid}" in notice["reason"]
        assert notice["last_seq"] == max(seq for _, _, seq in server.backend.stored)


def test_a_killed_run_is_interrupted_at_the_server_with_the_reason(lab: Lab, server: TrackingClient) -> None:
    trainer = lab.start(LOG_AND_WAIT.format(run="run_1"))
    wait_until(lambda: server.get("/api/v1/runs/run_1/metrics?name=x").status == 200, 30, "the run to arrive")
    kill(trainer)
    lab.wait_until_synced()
    [run] = [run for run in server.get("/api/v1/runs").json()["runs"] if run["id"] == "run_1"]
    assert run["status"] == "interrupted"


def test_a_run_that_finished_is_told_of_as_ended(lab: Lab) -> None:
    with StandIn() as server:
        lab.url = server.url
        assert lab.run("import flashtrial\nwith flashtrial.init() as run: run.log({'x': 1.0})").status == 0
        lab.wait_until_synced()
        assert [(notice["ended"], notice["reason"]) for notice in server.notices("gone")] == [(True, None)]


def test_a_token_is_handed_over_through_a_pipe_and_to_nobody_else(tmp_path: Path) -> None:
    assert not hand_over(tmp_path, "http://u", "secret")  # nobody reads
    (tmp_path / "handover").write_bytes(b"")
    assert not hand_over(tmp_path, "http://u", "secret")  # no pipe: nothing is written to a file
    assert (tmp_path / "handover").read_bytes() == b""
    pipe = HandoverPipe(tmp_path)
    pipe.open()
    assert hand_over(tmp_path, "http://u", "secret")
    assert hand_over(tmp_path, "", "other", "/home")
    assert list(pipe.take()) == [("http://u", "secret", ""), ("", "other", "/home")]
    assert list(pipe.take()) == []
    pipe.close()
    assert not (tmp_path / "handover").exists()


@pytest.mark.parametrize("seed", [11])
def test_kills_of_writers_sync_process_and_server_lose_and_double_nothing(seed: int, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(SOAK), "--kills", "8", "--seed", str(seed), "--writers", "2"],
        check=False,
        capture_output=True,
        text=True,
        timeout=55,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "lost: 0" in ended.stdout
