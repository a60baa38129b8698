"""SIGTERM: the run is marked, the process has the end that it would have had, and nothing is waited for."""

import signal
import subprocess
from typing import Any

import pytest

from testkit import wait_until

from .conftest import TIMEOUT_S, Lab

pytestmark = pytest.mark.integration

NO_SYNC = {"FLASHTRIAL_WORKER_ID": "worker_1"}  # inside a worker nothing is started


def terminated(lab: Lab, script: str) -> subprocess.Popen[str]:
    """The end of a script that got SIGTERM once it had printed ``ready``."""
    with lab.start(script, **NO_SYNC) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)
    return process


def states(lab: Lab) -> list[tuple[Any, Any]]:
    return [(record.body["status"], record.body.get("reason")) for record in lab.records() if record.kind == "state"]


def test_a_program_that_handles_nothing_dies_of_it_with_its_run_marked(lab: Lab) -> None:
    process = terminated(lab, "import flashtrial, time\nflashtrial.init()\nprint('ready', flush=True)\ntime.sleep(60)")
    assert process.returncode == -signal.SIGTERM
    assert states(lab) == [("running", None), ("interrupted", "SIGTERM")]


def test_in_the_middle_of_a_burst_every_record_that_was_logged_is_there(lab: Lab) -> None:
    script = """
import flashtrial
run = flashtrial.init()
run.log({"x": 0.0})
print("ready", flush=True)
while True:
    run.log({"x": 1.0})
"""
    process = terminated(lab, script)
    assert process.returncode == -signal.SIGTERM
    assert ("interrupted", "SIGTERM") in states(lab)
    numbers = [record.seq for record in lab.records()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_programs_own_handler_is_called_and_what_it_does_counts(lab: Lab) -> None:
    script = """
import flashtrial, signal, sys, time
def save(*_):
    flashtrial.log({"saved": 1.0})
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
run = flashtrial.init()
print("ready", flush=True)
time.sleep(60)
"""
    process = terminated(lab, script)
    assert process.returncode == 0
    assert states(lab) == [("running", None), ("interrupted", "SIGTERM"), ("interrupted", "SIGTERM")]
    assert [record.body["values"] for record in lab.records() if record.kind == "metric"] == [{"saved": 1.0}]


def test_a_handler_that_ignores_it_lets_the_run_end_as_the_program_says(lab: Lab) -> None:
    script = """
import flashtrial, signal, threading
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
run = flashtrial.init()
print("ready", flush=True)
told.wait(60)
run.log({"x": 1.0})
run.finish("finished")
"""
    assert terminated(lab, script).returncode == 0
    assert states(lab)[-1] == ("finished", None)


def test_a_lock_that_another_thread_holds_for_ever_does_not_keep_the_process(lab: Lab) -> None:
    script = """
import flashtrial, threading, time
run = flashtrial.init()
held = threading.Event()
def hold():
    with run._lock:
        held.set()
        time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
held.wait()
print("ready", flush=True)
time.sleep(60)
"""
    assert terminated(lab, script).returncode == -signal.SIGTERM


def test_a_fork_that_is_terminated_ends_nobodys_run(lab: Lab) -> None:
    script = """
import flashtrial, os, signal, time
run = flashtrial.init()
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM)
"""
    ended = lab.run(script, **NO_SYNC)
    assert ended.output == "True\n", ended
    assert states(lab) == [("running", None), ("finished", None)]


def test_when_no_run_is_open_the_signal_is_as_python_has_it(lab: Lab) -> None:
    script = """
import flashtrial, signal
flashtrial.init().finish()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
flashtrial.init()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
"""
    assert lab.run(script, **NO_SYNC).output == "True\nTrue\n"


def test_handlers_that_call_each_other_come_to_an_end(lab: Lab) -> None:
    script = """
import flashtrial, signal, time
flashtrial.init()
ours = signal.getsignal(signal.SIGTERM)
signal.signal(signal.SIGTERM, lambda number, frame: ours(number, frame))
flashtrial.init()
print("ready", flush=True)
time.sleep(60)
"""
    assert terminated(lab, script).returncode == -signal.SIGTERM
    assert [status for status, _ in states(lab)].count("interrupted") == 2


def test_a_signal_that_comes_while_finish_waits_leaves_the_end_as_it_is(lab: Lab) -> None:
    script = """
import flashtrial
run = flashtrial.init(settings={"finish_timeout_s": 60})
run.finish()
"""
    with lab.start(script, FLASHTRIAL_URL="http://127.0.0.1:9") as process:
        wait_until(lambda: len(states(lab)) == 2, TIMEOUT_S, "finish to write the end")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)
    assert states(lab) == [("running", None), ("finished", None)]
