"""``sync_process_enabled=False``: a thread of the trainer sends, under the same lock as a sync process."""

import os
import signal

import pytest

from flashtrial.tracking.journal.outbox import is_locked, lock_path
from testkit import wait_until
from testkit.tracking_server import TrackingClient

from .conftest import Lab, StandIn, kill

pytestmark = pytest.mark.integration

ON_A_THREAD = {"FLASHTRIAL_SYNC_PROCESS_ENABLED": "0"}
LOG = "import flashtrial\nr = flashtrial.init(run_id='run_1', resume=False)\nr.log({'x': 1.0})\n"


def test_a_thread_sends_everything_and_no_process_is_started(lab: Lab, server: TrackingClient) -> None:
    script = f"""{LOG}
for number in range(2000): r.log({{"x": float(number)}})
print(r.finish())
import psutil; print(psutil.Process().children(recursive=True))
"""
    ended = lab.run(script, **ON_A_THREAD)
    assert ended.status == 0, ended
    assert "2003 of 2003 records sent" in ended.output
    assert "[]" in ended.output
    assert lab.sync_processes() == []
    assert len(server.points("run_1", "x")) == 2001


def test_what_a_thread_could_not_send_is_sent_by_the_next_one(lab: Lab, port: int) -> None:
    lab.url = f"http://127.0.0.1:{port}"
    ended = lab.run(f"{LOG}print(r.finish(timeout_s=0.1))", **ON_A_THREAD)
    assert "0 of 3 records sent; 3 wait on this disk" in ended.output, ended
    with StandIn(port) as stand_in:
        assert (
            "2 of 2 records sent"
            in lab.run("import flashtrial\nprint(flashtrial.init().finish())", **ON_A_THREAD).output
        )
        wait_until(lambda: len(stand_in.backend.stored) == 5)


def test_a_thread_leaves_the_outbox_to_a_sync_process_that_is_there(lab: Lab) -> None:
    with StandIn() as stand_in:
        lab.url = stand_in.url
        trainer = lab.start(f"{LOG}import signal; signal.pause()")
        wait_until(lambda: len(stand_in.backend.stored) == 2)
        ended = lab.run("import flashtrial\nprint(flashtrial.init().finish())", **ON_A_THREAD)
        assert "2 of 2 records sent" in ended.output, ended
        kill(trainer)
        lab.wait_until_synced()


def test_a_fork_of_a_trainer_does_not_inherit_the_lock(lab: Lab) -> None:
    script = f"""{LOG}
import os, signal
from flashtrial.tracking.journal.outbox import is_locked, lock_path
while not is_locked(lock_path(r._writer.settings.outbox), shared=False): pass
if os.fork() == 0:
    signal.pause()
print("forked", flush=True)
signal.pause()
"""
    with StandIn() as stand_in:
        lab.url = stand_in.url
        trainer = lab.start(script, PYTHONWARNINGS="ignore::DeprecationWarning", **ON_A_THREAD)
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "forked\n"
        assert is_locked(lock_path(lab.outbox), shared=False)
        os.kill(trainer.pid, signal.SIGKILL)
        wait_until(lambda: not is_locked(lock_path(lab.outbox), shared=False), what="the lock to be free")
        kill(trainer)


def test_a_fork_goes_on_sending_when_its_parent_has_died(lab: Lab) -> None:
    script = f"""{LOG}
import os, signal, time
if os.fork() == 0:
    while True:
        r.log({{"child": 1.0}})
        time.sleep(0.05)
print("forked", flush=True)
signal.pause()
"""
    with StandIn() as stand_in:
        lab.url = stand_in.url
        trainer = lab.start(script, PYTHONWARNINGS="ignore::DeprecationWarning", **ON_A_THREAD)
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "forked\n"
        wait_until(lambda: stand_in.backend.stored)
        os.kill(trainer.pid, signal.SIGKILL)
        before = len(stand_in.backend.stored)
        wait_until(lambda: len(stand_in.backend.stored) > before + 50, 30, what="records of the fork")
        kill(trainer)
