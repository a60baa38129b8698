"""Deaths and outages: what `log` has returned from arrives, once."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from flashtrial.tracking.journal.outbox import cursor_path
from flashtrial.tracking.journal.progress import SyncStatus, read_cursor, read_status
from testkit import wait_until
from testkit.tracking_server import TrackingClient, tracking_server

from .conftest import TIMEOUT_S, Lab, StandIn, kill

pytestmark = pytest.mark.integration

LOG_AND_DIE = """
import os, signal, flashtrial
run = flashtrial.init(run_id="run_1", resume=False)
for number in range({count}):
    run.log({{"loss": number / 7, "nan": float("nan")}})
os.kill(os.getpid(), signal.SIGKILL)
"""
NO_SYNC = {"FLASHTRIAL_WORKER_ID": "worker_1"}  # inside a worker nothing is started


def steps(server: TrackingClient, name: str = "loss") -> list[int]:
    return [point[0] for point in server.points("run_1", name)]


def wait_for_status(lab: Lab) -> SyncStatus:
    """What the sync process says of itself, once there is one."""
    status = wait_until(lambda: read_status(lab.outbox), what="the sync process")
    assert status is not None
    return status


def test_ten_thousand_records_outlive_a_sigkill_right_after_the_last_call(lab: Lab, server: TrackingClient) -> None:
    ended = lab.run(LOG_AND_DIE.format(count=10_000), **NO_SYNC)
    assert ended.status == -signal.SIGKILL, ended
    lab.start_sync()
    lab.wait_until_synced()
    assert steps(server) == list(range(10_000))
    assert steps(server, "nan") == list(range(10_000))
    assert not list(lab.outbox.glob("*.journal"))


def test_a_full_disk_is_emptied_by_sending_what_is_on_it(lab: Lab, server: TrackingClient) -> None:
    """A limit on the size of files stands for the disk: not one byte of a cursor can be written."""
    assert lab.run(LOG_AND_DIE.format(count=20_000), **NO_SYNC).status == -signal.SIGKILL
    script = """
import os, resource, sys
from flashtrial.tracking.sending.sync_main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.exit(main(["--outbox", os.path.join(os.environ["FLASHTRIAL_HOME"], "outbox")]))
"""
    ended = lab.run(script)
    assert ended.status == 0, ended
    assert steps(server) == list(range(20_000))
    assert not list(lab.outbox.glob("*.journal"))


def test_the_sync_process_that_a_trainer_started_goes_on_when_it_is_killed(lab: Lab, server: TrackingClient) -> None:
    ended = lab.run(LOG_AND_DIE.format(count=10_000))
    assert ended.status == -signal.SIGKILL, ended
    lab.wait_until_synced()
    assert steps(server) == list(range(10_000))


def test_a_sync_process_killed_again_and_again_loses_and_doubles_nothing(lab: Lab) -> None:
    script = """
import flashtrial
run = flashtrial.init(run_id="run_1", resume=False)
for number in range(6000):
    run.log({"loss": 1.0, "text": "x" * 1500})
"""
    assert lab.run(script, **NO_SYNC).status == 0
    [journal] = lab.outbox.glob("*.journal")
    cursor = cursor_path(lab.outbox, journal.stem, "native")
    with StandIn() as stand_in:
        lab.url = stand_in.url
        for _ in range(4):
            before = read_cursor(cursor)
            pid = lab.start_sync()
            wait_until(lambda seen=before: read_cursor(cursor).seq > seen.seq or not journal.exists())  # type: ignore[misc]
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
            lab.wait_until_synced()
        assert journal.exists(), "all was sent before the last kill: log more"
        lab.start_sync()
        lab.wait_until_synced()
        assert sorted(seq for _, _, seq in stand_in.backend.stored) == list(range(1, 12_003))
        assert not journal.exists()


def test_the_sync_process_is_nobodys_child_and_has_a_session_of_its_own(lab: Lab, server: TrackingClient) -> None:
    trainer = lab.start("import flashtrial, signal; flashtrial.init(settings={'token': 'secret'}); signal.pause()")
    sync = psutil.Process(wait_for_status(lab).pid)
    assert sync.pid != trainer.pid
    assert os.getsid(sync.pid) == sync.pid
    assert sync.ppid() != trainer.pid
    assert sync.cwd() == "/"
    assert "secret" not in " ".join(sync.cmdline())
    assert sync.environ()["FLASHTRIAL_TOKEN"] == "secret"
    kill(trainer)
    lab.wait_until_synced()
    assert server.get("/api/v1/runs").json()["runs"]


def test_a_trainer_that_waits_for_all_its_children_does_not_wait_for_the_sync_process(lab: Lab) -> None:
    script = """
import flashtrial, os
with flashtrial.init(settings={"finish_timeout_s": 0}) as run:
    try:
        os.wait()
    except ChildProcessError:
        run.log({"x": 1.0})
"""
    with StandIn() as stand_in:
        lab.url = stand_in.url
        ended = lab.run(script)
        assert ended.status == 0, ended
        lab.wait_until_synced()
        assert len(stand_in.backend.stored) == 3


def test_a_run_made_without_a_server_arrives_when_one_comes_up(lab: Lab, port: int) -> None:
    lab.url = f"http://127.0.0.1:{port}"
    ended = lab.run("import flashtrial\nwith flashtrial.init(settings={'finish_timeout_s': 0}) as r: r.log({'x': 1.0})")
    assert ended.status == 0, ended
    wait_until(lambda: (status := read_status(lab.outbox)) and status.outage, what="an outage to be noticed")
    with StandIn(port) as stand_in:
        lab.wait_until_synced()
        assert len(stand_in.backend.stored) == 3


def test_tags_that_change_while_no_server_is_up_arrive_as_they_last_were(lab: Lab, tmp_path: Path) -> None:
    lab.home.mkdir(mode=0o700)
    instance = lab.home / "instance.json"
    script = """
import flashtrial
run = flashtrial.init(run_id="run_1", resume=False, tags=["a", "b"], settings={"finish_timeout_s": 0})
run.add_tags(["c", "a"])
run.remove_tags("b")
run.finish()
"""
    ended = lab.run(script)
    assert ended.status == 0, ended
    wait_until(lambda: (status := read_status(lab.outbox)) and status.outage, what="an outage to be noticed")
    with tracking_server(tmp_path / "server") as server:
        instance.write_text(f'{{"url": "http://127.0.0.1:{server.port}"}}')
        lab.wait_until_synced()
        assert server.get("/api/v1/runs/run_1").json()["tags"] == ["a", "c"]


def test_a_server_that_comes_up_in_this_home_is_found_at_once(lab: Lab) -> None:
    lab.home.mkdir(mode=0o700)
    instance = lab.home / "instance.json"
    with StandIn() as old:
        old.faults.append((503, {"Retry-After": "3600"}, b"going down"))
        instance.write_text(f'{{"url": "{old.url}"}}')
        script = "import flashtrial\nwith flashtrial.init(settings={'finish_timeout_s': 0}) as r: r.log({'x': 1.0})"
        assert lab.run(script).status == 0
        wait_until(lambda: (status := read_status(lab.outbox)) and status.outage, what="an outage to be noticed")
    with StandIn() as stand_in:
        instance.write_text(f'{{"url": "{stand_in.url}"}}')
        lab.wait_until_synced()
        assert len(stand_in.backend.stored) == 3


def test_answers_that_are_none_are_asked_again(lab: Lab) -> None:
    with StandIn() as stand_in:
        lab.url = stand_in.url
        stand_in.faults += [
            (429, {"Retry-After": "0"}, b""),
            (200, {"Content-Type": "text/html"}, b"<html>sign in</html>"),
            (502, {}, b"<html>bad gateway</html>"),
            (404, {}, b'{"detail": "Not Found"}'),
            (302, {"Location": "http://192.0.2.1/"}, b""),
        ]
        script = "import flashtrial\nwith flashtrial.init() as r:\n  r.log({'x': 1.0})\nprint(r.finish())"
        ended = lab.run(script, FLASHTRIAL_TOKEN="t0ken")
        assert ended.status == 0, ended
        lab.wait_until_synced()
        assert len(stand_in.backend.stored) == 3
        assert {headers.get("Authorization") for headers in stand_in.headers} == {"Bearer t0ken"}


def test_many_short_trainers_leave_nobody_behind(lab: Lab, server: TrackingClient) -> None:
    """Each may come just when the sync process of the one before it ends."""
    script = """
import flashtrial
for number in range(15):
    with flashtrial.init(settings={"finish_timeout_s": 5 if number % 2 else 0}) as run:
        run.log({"x": float(number)})
"""
    ended = lab.run(script)
    assert ended.status == 0, ended
    lab.wait_until_synced()
    runs = server.get("/api/v1/runs?limit=100").json()["runs"]
    assert len(runs) == 15
    assert {run["status"] for run in runs} == {"finished"}
    assert not list(lab.outbox.glob("*.journal"))


def test_sigterm_sends_what_is_there_before_the_end(lab: Lab) -> None:
    with StandIn() as stand_in:
        lab.url = stand_in.url
        trainer = lab.start("import flashtrial, signal; flashtrial.init().log({'x': 1.0}); signal.pause()")
        status = wait_for_status(lab)
        wait_until(lambda: stand_in.backend.stored, what="the first record")
        os.kill(status.pid, signal.SIGTERM)
        lab.wait_until_synced()
        kill(trainer)
        assert len(stand_in.backend.stored) == 2


def test_a_sync_process_that_was_killed_is_started_again_by_a_trainer_that_goes_on(lab: Lab) -> None:
    script = """
import flashtrial, sys
run = flashtrial.init()
print("ready", flush=True)
while True:
    run.log({"x": 1.0})
    if sys.stdin.readline(): pass
"""
    with StandIn() as stand_in:
        lab.url = stand_in.url
        trainer = lab.start(script.replace("sys.stdin.readline()", "__import__('time').sleep(0.01)"))
        first = wait_for_status(lab)
        wait_until(lambda: stand_in.backend.stored, what="the first record")
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: read_status(lab.outbox) != first, TIMEOUT_S, what="another sync process")
        kill(trainer)
        lab.wait_until_synced()
        seqs = sorted(seq for _, _, seq in stand_in.backend.stored)
        assert seqs == list(range(1, len(seqs) + 1))
