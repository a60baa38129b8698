"""`runs`, `verify` and `sync`: what is known from disk, whether anything runs or not."""

import json
import subprocess
import sys

from testkit import wait_until

from .conftest import Flashtrial

TRAINER = """
import flashtrial
run = flashtrial.init(project="disk", name="kept", config={"rate": 0.1})
for step in range(20):
    flashtrial.log({"loss": 1 / (step + 1), "odd": float("nan")}, step=step)
flashtrial.finish()
print(run.id)
"""


def train(cli: Flashtrial, **given: str) -> str:
    """The id of a run that a script of its own has made, with `given` in its environment."""
    trained = subprocess.run(
        [sys.executable, "-c", TRAINER],
        env=cli.environment(given),
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return trained.stdout.strip()


# Nothing is sent behind the test's back: inside a worker nothing is started.
OFFLINE = {"FLASHTRIAL_WORKER_ID": "worker_1"}


def leave_instance(cli: Flashtrial) -> None:
    """As a killed one does, so that nobody asks what may be on the default port of a developer's machine."""
    cli.home.mkdir(exist_ok=True)
    (cli.home / "instance.json").write_text(json.dumps({"url": "http://127.0.0.1:9"}))


def test_a_home_without_a_database_has_no_runs(flashtrial_cli: Flashtrial) -> None:
    assert json.loads(flashtrial_cli("runs", "--json").stdout) == []
    assert flashtrial_cli("runs").stdout == f"no runs in {flashtrial_cli.home} yet\n"
    assert not flashtrial_cli.home.exists()


def test_an_unknown_run_is_one_line(flashtrial_cli: Flashtrial) -> None:
    leave_instance(flashtrial_cli)
    answer = flashtrial_cli("verify", "run_nobody")
    assert answer.returncode == 1
    assert answer.stderr.startswith("flashtrial: no run run_nobody in ")


def test_what_was_tracked_is_listed_and_verified_after_everything_ended(flashtrial_cli: Flashtrial) -> None:
    flashtrial_cli("up", "--detach")
    run_id = train(flashtrial_cli)
    wait_until(lambda: flashtrial_cli("verify", run_id).returncode == 0, 30, "all records to arrive")
    flashtrial_cli("down")
    (row,) = json.loads(flashtrial_cli("runs", "--json").stdout)
    assert row["id"] == run_id
    assert (row["project"], row["name"], row["status"]) == ("disk", "kept", "finished")
    assert row["config"] == {"rate": 0.1}
    assert row["summary"] == {"loss": 0.05, "odd": "NaN"}
    assert row["points"] == {"loss": 20, "odd": 20}
    counts = json.loads(flashtrial_cli("verify", run_id, "--json").stdout)
    assert counts["written"] == counts["sent"] == counts["stored"] >= 22
    assert (counts["missing"], counts["doubled"]) == (0, 0)
    assert run_id in flashtrial_cli("runs").stdout


def test_records_made_offline_are_missing_until_sync_sends_them(flashtrial_cli: Flashtrial) -> None:
    run_id = train(flashtrial_cli, **OFFLINE)
    leave_instance(flashtrial_cli)
    before = json.loads(flashtrial_cli("verify", run_id, "--json").stdout)
    assert before["written"] == before["missing"] >= 22
    assert before["sent"] == before["stored"] == 0
    flashtrial_cli("up", "--detach")
    sent = flashtrial_cli("sync")
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout == f"sent {before['written']} records\n"
    after = json.loads(flashtrial_cli("verify", run_id, "--json").stdout)
    none = dict.fromkeys(("missing", "doubled", "refused", "dropped"), 0)
    assert after == dict.fromkeys(("written", "sent", "stored"), before["written"]) | none
    assert flashtrial_cli("sync").stdout == "nothing to send\n"


def test_sync_without_a_server_says_what_waits_and_why(flashtrial_cli: Flashtrial) -> None:
    train(flashtrial_cli, **OFFLINE)
    failed = flashtrial_cli("sync", FLASHTRIAL_URL="http://127.0.0.1:1")
    assert failed.returncode == 1
    assert failed.stderr.startswith("flashtrial: 22 records wait in ")
    assert "Traceback" not in failed.stderr
    assert "22 records wait" in flashtrial_cli("doctor").stdout
