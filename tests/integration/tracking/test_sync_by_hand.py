"""`flashtrial sync` beside a sync process that holds the outbox, and destinations that are given up or are not."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from flashtrial.tracking.journal.outbox import is_locked, lock_path
from flashtrial.tracking.journal.progress import read_status
from flashtrial.tracking.settings.credentials import Credentials
from testkit import wait_until

from .conftest import NOWHERE, TIMEOUT_S, Lab, StandIn, kill

pytestmark = pytest.mark.integration

DIES = "import flashtrial, os\nflashtrial.init(run_id='run_1', resume=False).log({'x': 1.0})\nos._exit(0)"
LIVES = "import flashtrial, signal\nflashtrial.init(run_id='run_1').log({'x': 1.0})\nsignal.pause()"


@pytest.fixture
def command(lab: Lab) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A ``flashtrial`` command in the lab's home, with variables of its own."""

    def run(*arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flashtrial.cli", *arguments],
            env=lab.environment(given),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    return run


def outages(lab: Lab) -> set[str]:
    """The names of the destinations to which nothing goes through."""
    status = read_status(lab.outbox)
    return {name.split(" ")[0] for name in status.outages} if status else set()


@pytest.mark.parametrize("trainer", ["dead", "alive"])
def test_what_is_sent_elsewhere_is_taken_over_from_the_sync_process_that_waits(
    lab: Lab, command: Callable[..., subprocess.CompletedProcess[str]], trainer: str
) -> None:
    lab.url = NOWHERE
    process = lab.start(DIES if trainer == "dead" else LIVES)
    wait_until(lambda: "native" in outages(lab), 30, "the sync process to wait for the server")
    with StandIn() as elsewhere:
        sent = command("sync", "--url", elsewhere.url)
        assert (sent.returncode, sent.stdout) == (0, "sent 2 records\n"), sent.stderr
        assert {seq for _, _, seq in elsewhere.backend.stored} == {1, 2}
    if trainer == "alive":
        kill(process)


def test_a_token_reaches_the_sync_process_that_waits_for_the_server_of_the_login(
    lab: Lab, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with StandIn() as server:
        server.token = "a-token-that-came-late"
        lab.home.mkdir(mode=0o700)
        Credentials(server.url, {}).write(lab.home)
        lab.start(DIES)
        wait_until(lambda: "native" in outages(lab), 30, "the sync process to be refused")
        sent = command("sync", FLASHTRIAL_TOKEN=server.token)
        assert (sent.returncode, sent.stdout) == (0, "sent 2 records\n"), sent.stderr


def test_a_thread_that_sends_is_named_and_left_alone(
    lab: Lab, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    lab.url = NOWHERE
    trainer = lab.start(LIVES, FLASHTRIAL_SYNC_PROCESS_ENABLED="0")
    wait_until(lambda: "native" in outages(lab), 30, "the thread to wait for the server")
    failed = command("sync", "--url", NOWHERE)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"flashtrial: process {trainer.pid} sends from {lab.outbox}")
    assert trainer.poll() is None
    kill(trainer)


def test_a_destination_is_given_up_by_hand_and_by_no_other_sync_process(
    lab: Lab, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with StandIn() as server:
        lab.url = server.url
        lab.run(DIES, FLASHTRIAL_BACKENDS="native,mlflow", MLFLOW_TRACKING_URI=NOWHERE)
        wait_until(lambda: server.backend.stored and "mlflow" in outages(lab), 30, "all that goes to go")
        lab.end_sync()
        lab.start_sync(FLASHTRIAL_BACKENDS="native", MLFLOW_TRACKING_URI=NOWHERE)
        wait_until(lambda: "mlflow" in outages(lab), 30, "the new sync process to try")
        assert list(lab.outbox.glob("*.journal"))
        lab.end_sync()
        failed = command("sync", MLFLOW_TRACKING_URI=NOWHERE)
        assert failed.returncode == 1
        assert "2 records wait in" in failed.stderr
        assert "for mlflow: " in failed.stderr
        lab.start_sync(MLFLOW_TRACKING_URI=NOWHERE)
        wait_until(lambda: is_locked(lock_path(lab.outbox), shared=False), 30, "a sync process")
        mistyped = command("sync", FLASHTRIAL_BACKENDS="nativ")
        assert (mistyped.returncode, bool(list(lab.outbox.glob("*.journal")))) == (1, True)
        given_up = command("sync", FLASHTRIAL_BACKENDS="native")
        assert given_up.returncode == 0, given_up.stderr
        assert not list(lab.outbox.glob("*.journal"))
