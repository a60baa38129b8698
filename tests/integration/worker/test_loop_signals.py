"""A worker that is told to leave, in every state that it can be in."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.testing.job_platform import JobPlatform, Kind, job_platform
from testkit.waiting import wait_until

from .loop_process import CALL_S, ENDLESS, STUBBORN, WAITS, LoopWorker, function, loop_worker, wait_until_gone

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

COUNTER = """
import os, time
class Counter:
    def wait(self, begun, leave):
        with open(begun, "a") as file:
            file.write("x")
        while not os.path.exists(leave):
            time.sleep(0.01)
        return "waited"
"""


@pytest.fixture
def platform() -> Iterator[JobPlatform]:
    with job_platform() as running:
        running.hold_s = 1.5
        yield running


@pytest.fixture
def worker(platform: JobPlatform, flashtrial_home: Path) -> Iterator[LoopWorker]:
    """A worker that polls, and has more time to leave than it needs."""
    with loop_worker(platform, flashtrial_home, FLASHTRIAL_DRAIN_S="60") as running:
        running.wait_for_polls()
        yield running


@pytest.fixture
def hasty_worker(platform: JobPlatform, flashtrial_home: Path) -> Iterator[LoopWorker]:
    """A worker whose platform gives it three seconds to leave."""
    with loop_worker(platform, flashtrial_home, FLASHTRIAL_DRAIN_S="3", FLASHTRIAL_CONCURRENCY="2") as running:
        running.wait_for_polls()
        yield running


def begin(worker: LoopWorker, tmp_path: Path, source: str, *more: object, job_id: str = "job-1") -> Path:
    """Submit a job and return, once its call runs, the file that it wrote."""
    begun = tmp_path / f"{job_id}.begun"
    worker.platform.submit(job_id, function(source, str(begun), *more))
    wait_until(begun.exists, CALL_S, f"{job_id} to run; {worker.log}")
    return begun


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_leaves_when_its_poll_returns(
    platform: JobPlatform, worker: LoopWorker, number: signal.Signals
) -> None:
    worker.signal(number)
    assert worker.exit_code() == 0
    assert platform.open_polls == 0


def test_a_job_that_comes_by_a_poll_that_was_open_is_run_and_no_further_one_taken(
    platform: JobPlatform, worker: LoopWorker
) -> None:
    worker.signal(signal.SIGTERM)
    platform.submit("late", function("def f():\n    return 7\n"))
    platform.submit("later", function("def f():\n    return 8\n"))
    assert worker.answer("late")["output"]["json_result"] == 7
    assert worker.exit_code() == 0
    assert platform.answer("later") is None
    assert [one.job_id for one in platform.heard(Kind.POLL) if one.job_id] == ["late"]


def test_a_call_that_ends_in_time_is_answered(worker: LoopWorker, tmp_path: Path) -> None:
    leave = tmp_path / "leave"
    begin(worker, tmp_path, WAITS, str(leave))
    worker.signal(signal.SIGTERM)
    leave.touch()
    assert worker.answer("job-1")["output"]["json_result"] == "waited"
    assert worker.exit_code() == 0


@pytest.mark.parametrize("source", [ENDLESS, STUBBORN], ids=["endless", "masked signals"])
def test_a_call_that_does_not_end_in_time_is_ended_and_answered(
    hasty_worker: LoopWorker, tmp_path: Path, source: str
) -> None:
    worker = hasty_worker
    begin(worker, tmp_path, source)
    family = worker.family()
    assert len(family) > 2
    worker.signal(signal.SIGTERM)
    body = worker.answer("job-1")
    assert body["output"]["error_kind"] == "worker_lost"
    assert "told to leave" in body["error"]
    assert source is STUBBORN or body["output"]["stdout"] == "begun\n"
    assert worker.exit_code() == 0
    wait_until_gone(family)


def test_calls_that_wait_for_their_turn_are_answered_too(
    platform: JobPlatform, hasty_worker: LoopWorker, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    request = {
        "execution_type": "class",
        "class_name": "Counter",
        "class_code": COUNTER,
        "method_name": "wait",
        "instance_id": "counter",
        "create_new_instance": False,
        "args": [str(begun), str(tmp_path / "leave")],
        "serialization_format": "json",
    }
    for job_id in ("first", "second"):
        platform.submit(job_id, request)
    wait_until(lambda: begun.exists() and len(platform.heard(Kind.POLL)) >= 2, CALL_S, "both to be taken")
    hasty_worker.signal(signal.SIGTERM)
    for job_id in ("first", "second"):
        assert hasty_worker.answer(job_id)["output"]["error_kind"] == "worker_lost"
    assert hasty_worker.exit_code() == 0


def test_a_stop_signal_still_counts_while_the_worker_drains(
    platform: JobPlatform, worker: LoopWorker, tmp_path: Path
) -> None:
    begin(worker, tmp_path, ENDLESS)
    worker.signal(signal.SIGTERM)
    platform.stop(worker.id, "job-1")
    assert worker.exit_code() == 0
    assert platform.answer("job-1") is None


def test_an_answer_that_the_platform_does_not_take_yet_is_not_left_behind(
    flashtrial_home: Path, tmp_path: Path
) -> None:
    recovered = tmp_path / "recovered"
    refused: list[str] = []

    def answers(kind: Kind, job_id: str) -> int:
        if kind is not Kind.DONE or recovered.exists():
            return 200
        refused.append(job_id)
        return 503

    with (
        job_platform(answers) as platform,
        loop_worker(platform, flashtrial_home, FLASHTRIAL_DRAIN_S="60") as worker,
    ):
        worker.wait_for_polls()
        platform.submit("job-1", function("def f():\n    return 1\n"))
        wait_until(lambda: refused, CALL_S, "the answer to be offered")
        worker.signal(signal.SIGTERM)
        recovered.touch()
        assert worker.answer("job-1")["output"]["json_result"] == 1
        assert worker.exit_code() == 0


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT")])
def test_the_second_signal_ends_everything_at_once(
    platform: JobPlatform, worker: LoopWorker, tmp_path: Path, first: str, second: str
) -> None:
    begin(worker, tmp_path, STUBBORN)
    family = worker.family()
    worker.signal(signal.Signals[first])
    wait_until(lambda: first.encode() in worker.log.read_bytes(), CALL_S, "the first signal to be noticed")
    worker.signal(signal.Signals[second])
    assert worker.exit_code() == 128 + signal.Signals[second]
    wait_until_gone(family)
    assert platform.answer("job-1") is None


@pytest.mark.parametrize("after_s", [0, 1, *(pytest.param(seconds, marks=pytest.mark.slow) for seconds in (5, 10, 30))])
def test_nothing_survives_a_worker_that_is_killed_while_it_drains(
    worker: LoopWorker, tmp_path: Path, after_s: int
) -> None:
    begin(worker, tmp_path, STUBBORN)
    family = worker.family()
    assert any("handler.py" in " ".join(one.cmdline()) for one in family[1:])  # the SDK's ping process
    worker.signal(signal.SIGTERM)
    wait_until(lambda: b"SIG" in worker.log.read_bytes(), CALL_S, "the signal to be noticed")
    with pytest.raises(subprocess.TimeoutExpired):  # it has a call to end, and time to do it
        worker.exit_code(after_s)
    worker.signal(signal.SIGKILL)
    assert worker.exit_code() == -signal.SIGKILL
    wait_until_gone(family)


def test_a_worker_that_is_told_to_leave_before_it_began_just_ends(platform: JobPlatform, flashtrial_home: Path) -> None:
    with loop_worker(platform, flashtrial_home) as worker:
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() in (0, -signal.SIGTERM)
    assert not platform.heard(Kind.POLL)


def test_the_worker_says_that_it_is_alive_while_a_call_keeps_a_core_busy(
    platform: JobPlatform, worker: LoopWorker, tmp_path: Path
) -> None:
    begin(worker, tmp_path, ENDLESS)
    seen = len(platform.heard(Kind.PING))
    wait_until(lambda: len(platform.heard(Kind.PING)) >= seen + 2, CALL_S, "two more pings")


EXIT_HOOKS = """
import atexit, os, sys, threading, time
def f(begun):
    atexit.register(time.sleep, 1000)
    atexit.register(lambda: 1 / 0)
    threading._register_atexit(time.sleep, 1000)
    sys.exitfunc = lambda: time.sleep(1000)
    with open(begun, "a") as file:
        file.write("x")
    return os.getpid()
"""


def test_exit_hooks_of_a_call_that_hang_or_raise_keep_no_worker_from_leaving(
    worker: LoopWorker, tmp_path: Path
) -> None:
    begin(worker, tmp_path, EXIT_HOOKS)
    assert worker.answer("job-1")["output"]["success"]
    family = worker.family()
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    wait_until_gone(family)
    assert b"Traceback" not in worker.log.read_bytes()
