"""What a worker is started with, and how its end is told."""

import signal
from pathlib import Path

import pytest

from flashtrial.local_runpod.worker_process import Assignment, exit_story, log_tail, worker_environment

pytestmark = pytest.mark.unit

ASSIGNMENT = Assignment("w1", "ft1", "http://127.0.0.1:8787", "the-key", "the-token", "tracking")


def test_what_makes_a_worker_ours_wins_over_template_and_base() -> None:
    base = {"RUNPOD_POD_ID": "base", "FLASHTRIAL_TOKEN": "base", "A": "base", "B": "base"}
    template = {"RUNPOD_AI_API_KEY": "template", "FLASHTRIAL_HOME": "template", "B": "template"}
    environment = worker_environment(base, template, Path("/home"), ASSIGNMENT, 8)
    assert (environment["A"], environment["B"]) == ("base", "template")
    assert (environment["RUNPOD_POD_ID"], environment["RUNPOD_AI_API_KEY"]) == ("w1", "the-key")
    assert (environment["FLASHTRIAL_TOKEN"], environment["FLASHTRIAL_HOME"]) == ("tracking", "/home")


def test_the_addresses_have_what_the_sdk_looks_for_in_them() -> None:
    environment = worker_environment({}, {}, Path("/home"), ASSIGNMENT, 1)
    assert "/job-take/$ID?" in environment["RUNPOD_WEBHOOK_GET_JOB"]
    assert "/$RUNPOD_POD_ID/$ID?" in environment["RUNPOD_WEBHOOK_POST_OUTPUT"]
    assert "/$RUNPOD_POD_ID/$ID?" in environment["RUNPOD_WEBHOOK_POST_STREAM"]
    assert "/$RUNPOD_POD_ID?" in environment["RUNPOD_WEBHOOK_PING"]


def test_a_worker_has_the_slots_that_it_is_given_jobs_for() -> None:
    assert worker_environment({}, {}, Path("/home"), ASSIGNMENT, 8)["FLASHTRIAL_CONCURRENCY"] == "8"


def test_a_proxy_is_not_asked_for_this_machine() -> None:
    environment = worker_environment({"NO_PROXY": "intranet"}, {}, Path("/home"), ASSIGNMENT, 1)
    assert environment["NO_PROXY"].split(",") == ["intranet", "127.0.0.1", "localhost", "::1"]
    assert environment["no_proxy"] == environment["NO_PROXY"], "who reads the other spelling excepts the same"


def test_an_end_is_told_in_words() -> None:
    assert "exit code 3" in exit_story(3)
    assert "SIGSEGV" in exit_story(-signal.SIGSEGV)
    assert "out of memory" in exit_story(-signal.SIGKILL)


def test_a_long_log_is_cut_to_whole_lines_at_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d \xff\n" % number for number in range(1000)))
    lines = log_tail(log, limit_bytes=100)
    assert lines[-1].startswith("line 999")
    assert all(line.startswith("line ") for line in lines)
    assert log_tail(tmp_path / "none") == []
