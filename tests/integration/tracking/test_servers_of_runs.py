"""`verify`, `runs` and `doctor` ask the server that a run goes to, and not the one that happens to be configured."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flashtrial.cli import doctor, probe
from flashtrial.cli.run_servers import ServerSilent
from flashtrial.cli.verify import UnknownRun, audit
from flashtrial.core.clock import SystemClock
from flashtrial.protocol.records import JournalHeader
from flashtrial.server.access.tokens import Grant, Scope, issue
from flashtrial.tracking.journal.outbox import Journal, cursor_path, dead_path
from flashtrial.tracking.journal.progress import Cursor, DeadRecord, append_dead, write_cursor
from flashtrial.tracking.settings import address
from testkit.tracking_server import TrackingClient, batch, metric, tracking_server

from .conftest import NOWHERE, TIMEOUT_S, Lab, StandIn

pytestmark = pytest.mark.integration

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(lab: Lab) -> Command:
    """A ``flashtrial`` command in the lab's home, with another server configured than the runs'."""

    def run(*arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
        elsewhere = {"FLASHTRIAL_URL": NOWHERE}
        return subprocess.run(
            [sys.executable, "-m", "flashtrial.cli", *arguments],
            env=lab.environment({**elsewhere, **given}),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    return run


def journal(outbox: Path, url: str, count: int, *backends: str, run_id: str = "run_1") -> Path:
    """What a run to the server at `url` left, of `count` records."""
    facts: dict[str, Any] = {"url": url, "backends": list(backends or ("native",))}
    made = Journal.create(outbox, JournalHeader(run_id, f"wr_{run_id}", facts))
    made.append("state", {"status": "running", "project": "p"}, 1000)
    for step in range(count - 1):
        made.append("metric", {"step": step, "values": {"x": 1.0}}, 1000)
    made.close()
    return made.path


def verified(command: Command, run_id: str = "run_1", **given: str) -> dict[str, Any]:
    answer = command("verify", run_id, "--json", **given)
    assert answer.stdout, answer.stderr
    counts: dict[str, Any] = json.loads(answer.stdout)
    return counts


def test_a_run_is_verified_where_it_went(lab: Lab, server: TrackingClient, command: Command) -> None:
    assert lab.url
    path = journal(lab.outbox, lab.url, 5)
    kept = path.read_bytes()
    assert verified(command)["missing"] == 5
    assert command("sync").returncode == 0
    path.write_bytes(kept)
    write_cursor(cursor_path(lab.outbox, "wr_run_1", "native"), Cursor(len(kept), 5))
    assert verified(command) == {
        **dict.fromkeys(("written", "sent", "stored"), 5),
        **dict.fromkeys(("missing", "doubled", "refused", "dropped"), 0),
    }
    path.unlink()
    assert verified(command, FLASHTRIAL_URL=lab.url)["stored"] == 5
    del server


def test_a_server_that_cannot_be_asked_is_named_and_nothing_is_called_missing(lab: Lab, command: Command) -> None:
    lab.url = NOWHERE  # and not where this home's instance is
    journal(lab.outbox, NOWHERE, 5)
    answer = command("verify", "run_1")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == f"flashtrial: run run_1 goes to {NOWHERE}, which cannot be asked: nothing listens there\n"


@pytest.fixture
def asks_here() -> Iterator[None]:
    """For tests that ask in this process: its connections are closed."""
    yield
    probe._pool().clear()


@pytest.mark.usefixtures("asks_here")
def test_a_server_at_the_address_of_no_instance_is_asked(
    lab: Lab, server: TrackingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's, or the end of a tunnel, on the default port: `INSTANCE` by its address, and no file says so."""
    assert lab.url
    monkeypatch.setattr(address, "_DEFAULT_URL", lab.url)
    monkeypatch.setenv("FLASHTRIAL_URL", lab.url)
    journal(lab.outbox, "instance", 2)
    assert audit(lab.home, lab.outbox, "run_1").missing == 2
    server.ingest(batch("run_1", metric(1, {"x": 1.0}), metric(2, {"x": 1.0}), writer_id="wr_run_1"))
    found = audit(lab.home, lab.outbox, "run_1")
    assert (found.stored, found.missing) == (2, 0)
    shown = [each for each in doctor.examine(lab.home) if each.name == "server"]
    assert [(each.value, each.ok) for each in shown] == [(f"{lab.url} answers", True)]
    monkeypatch.setattr(address, "_DEFAULT_URL", NOWHERE)
    monkeypatch.setenv("FLASHTRIAL_URL", NOWHERE)
    with pytest.raises(ServerSilent):
        audit(lab.home, lab.outbox, "run_1")
    monkeypatch.delenv("FLASHTRIAL_URL")
    assert audit(lab.home, lab.outbox, "run_1").missing == 2
    with pytest.raises(UnknownRun):
        audit(lab.home, lab.outbox, "run_nobody")


def test_each_destination_is_counted_for_itself(lab: Lab, server: TrackingClient, command: Command) -> None:
    """MLflow has refused one and not had the last two; our own server has all but one, which it refused."""
    assert lab.url
    journal(lab.outbox, lab.url, 6, "native", "mlflow")
    for name, last, refused in (("native", 6, 3), ("mlflow", 4, 2)):
        write_cursor(cursor_path(lab.outbox, "wr_run_1", name), Cursor(1, last))
        dead = DeadRecord("run_1", "wr_run_1", refused, "no", 0, b"")
        append_dead(dead_path(lab.outbox, "wr_run_1", name), [dead])
    for seq in (1, 2, 4, 5, 6):
        line = {"run_id": "run_1", "writer_id": "wr_run_1", "seq": seq, "kind": "metric", "time_ms": 1}
        body = json.dumps({**line, "body": {"step": seq, "values": {"x": 1.0}}}).encode()
        headers = {"Content-Type": "application/json"}
        assert server.request("POST", "/api/v1/ingest", body, headers).status == 200
    counts = verified(command)
    assert (counts["written"], counts["stored"], counts["refused"], counts["missing"]) == (6, 5, 1, 0)
    assert counts["elsewhere"] == {"mlflow": {"sent": 3, "refused": 1, "pending": 2}}
    shown = command("verify", "run_1")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[1] == "mlflow: sent 3  refused 1  pending 2"


def test_runs_and_doctor_say_where_what_waits_goes(lab: Lab, command: Command) -> None:
    with StandIn() as server:
        journal(lab.outbox, server.url, 5)
        journal(lab.outbox, "instance", 3, run_id="run_2")
        listed = command("runs", FLASHTRIAL_URL="").stdout
        assert f"run_1: 5 records wait for native at {server.url} (" in listed
        assert [line.endswith("none of it has arrived here") for line in listed.splitlines()[:2]] == [False, True]
        found = {
            finding["value"]: finding["ok"]
            for finding in json.loads(command("doctor", "--json").stdout)
            if finding["name"] == "server"
        }
    assert [ok for value, ok in found.items() if value.startswith(server.url)] == [True]
    assert any(value.endswith("nothing listens there") for value in found), found


@pytest.mark.usefixtures("asks_here")
def test_a_token_that_only_writes_is_a_good_one_and_one_that_only_reads_is_not(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, home = "ft_" + "k" * 43, tmp_path / "server-home"
    with tracking_server(home, token=key) as server:
        url = f"http://127.0.0.1:{server.port}"
        monkeypatch.setenv("FLASHTRIAL_URL", url)
        shown = {}
        for scope in (Scope.WRITE, Scope.READ):
            token = issue(home, key, Grant("box", frozenset({scope})), SystemClock().time_ms())
            monkeypatch.setenv("FLASHTRIAL_TOKEN", token)
            [shown[scope]] = [each for each in doctor.examine(lab.home) if each.name == "server"]
    assert shown[Scope.WRITE] == doctor.Finding("server", f"{url} answers")
    assert not shown[Scope.READ].ok
    assert (
        "refuses the token (HTTP 403, this token (box) is good for read; this needs write)" in shown[Scope.READ].value
    )
