"""Jobs through the SDK's real loop as a careful worker runs it, against a scripted platform."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.testing.job_platform import JobPlatform, Kind, job_platform
from flashtrial.worker.loop.runpod_loop import missing_internals
from testkit.waiting import wait_until

from .loop_process import CALL_S, ENDLESS, WAITS, LoopWorker, function, loop_worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

COUNTS = """
def f(path):
    with open(path, "a") as file:
        file.write("x")
    return 1
"""
FAILS = COUNTS.replace("return 1", "raise ValueError('it is broken')")


class Script:
    """What the platform answers to reports on a job: these in turn, then 200."""

    def __init__(self) -> None:
        self.statuses: dict[str, list[int]] = {}

    def __call__(self, kind: Kind, job_id: str) -> int:
        rest = self.statuses.get(job_id, []) if kind is Kind.DONE else []
        return rest.pop(0) if rest else 200


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def platform(script: Script) -> Iterator[JobPlatform]:
    with job_platform(script) as running:
        yield running


@pytest.fixture(scope="module")
def worker(platform: JobPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopWorker]:
    """One worker with one slot for all tests of this module."""
    home = tmp_path_factory.mktemp("loop") / "home"
    with loop_worker(platform, home, FLASHTRIAL_MAX_RESULT_BYTES="50000") as running:
        running.wait_for_polls()
        yield running


def test_the_installed_sdk_has_what_the_loop_relies_on() -> None:
    assert missing_internals() == []


def test_a_job_is_answered(worker: LoopWorker) -> None:
    worker.platform.submit("simple", function("def f(a):\n    print('hello')\n    return a + 1\n", 4))
    assert worker.answer("simple") == {"output": {"success": True, "json_result": 5, "stdout": "hello\n"}}


def test_a_worker_with_one_slot_leaves_what_waits_to_others(worker: LoopWorker, tmp_path: Path) -> None:
    for job_id in ("one", "two"):
        worker.platform.submit(job_id, function(WAITS, str(tmp_path / job_id), str(tmp_path / "leave")))
    wait_until((tmp_path / "one").exists, CALL_S, "the first to run")
    assert worker.platform.open_polls == 0
    assert worker.platform.taken_by(worker.id)[-1] == "one"
    (tmp_path / "leave").touch()
    for job_id in ("one", "two"):
        assert worker.answer(job_id)["output"]["json_result"] == "waited"
    taken = [one for one in worker.platform.heard(Kind.POLL) if one.job_id == "two"]
    assert len(taken) == 1


def test_a_job_that_comes_again_after_its_end_gets_the_same_answer(worker: LoopWorker, tmp_path: Path) -> None:
    platform, counted = worker.platform, tmp_path / "counted"
    platform.submit("again", function(COUNTS, str(counted)))
    first = worker.answer("again")
    platform.submit("again", function(COUNTS, str(counted)))
    wait_until(lambda: len(platform.heard(Kind.DONE, "again")) == 2, CALL_S, "the second answer")
    assert [said.body for said in platform.heard(Kind.DONE, "again")] == [first, first]
    assert counted.read_text() == "x"


def test_a_failed_job_that_is_retried_runs_again(worker: LoopWorker, tmp_path: Path) -> None:
    platform, counted = worker.platform, tmp_path / "counted"
    platform.submit("retried", function(FAILS, str(counted)))
    assert "it is broken" in worker.answer("retried")["error"]
    platform.submit("retried", function(FAILS, str(counted)))
    wait_until(lambda: len(platform.heard(Kind.DONE, "retried")) == 2, CALL_S, "the second answer")
    assert counted.read_text() == "xx"


@pytest.mark.parametrize("statuses", [[503, 502, 500], [0, 0], [429, 408], [0, 503, 429, 0]], ids=str)
def test_an_answer_is_offered_until_the_platform_has_it(
    worker: LoopWorker, script: Script, tmp_path: Path, statuses: list[int]
) -> None:
    counted, name = tmp_path / "counted", "insist-" + "-".join(map(str, statuses))
    script.statuses[name] = list(statuses)
    worker.platform.submit(name, function(COUNTS, str(counted)))
    assert worker.answer(name)["output"]["json_result"] == 1
    assert script.statuses[name] == []
    assert counted.read_text() == "x"


def test_a_failure_that_the_platform_did_not_take_is_remembered(
    worker: LoopWorker, script: Script, tmp_path: Path
) -> None:
    platform, counted = worker.platform, tmp_path / "counted"
    script.statuses["refused"] = [404]
    platform.submit("refused", function(FAILS, str(counted)))
    wait_until(lambda: not script.statuses["refused"], CALL_S, "the refusal")
    platform.submit("refused", function(FAILS, str(counted)))
    assert "it is broken" in worker.answer("refused")["error"]
    assert counted.read_text() == "x"


def test_an_answer_that_the_platform_finds_too_large_becomes_one_that_says_so(
    worker: LoopWorker, script: Script
) -> None:
    script.statuses["grumpy"] = [400]
    worker.platform.submit("grumpy", function("def f():\n    return 'x' * 5000\n"))
    body = worker.answer("grumpy")
    assert body["output"]["error_kind"] == "result"
    assert "did not take its answer of 5," in body["error"]


def test_a_result_over_the_limit_is_an_error_that_keeps_the_output(worker: LoopWorker) -> None:
    worker.platform.submit("large", function("def f():\n    print('said')\n    return 'x' * 60_000\n"))
    body = worker.answer("large")
    assert body["output"]["error_kind"] == "result"
    assert body["output"]["stdout"] == "said\n"
    assert "60,0" in body["error"]
    assert "that fit into an answer" in body["error"]


def test_output_over_the_limit_is_cut_and_the_result_stays(worker: LoopWorker) -> None:
    worker.platform.submit("chatty", function("def f():\n    print('é' * 300_000)\n    return 'x' * 30_000\n"))
    body = worker.answer("chatty")
    assert body["output"]["json_result"] == "x" * 30_000
    assert "bytes cut" in body["output"]["stdout"]


def test_a_result_that_is_declared_too_large_is_refused_before_the_call(worker: LoopWorker, tmp_path: Path) -> None:
    counted = tmp_path / "counted"
    worker.platform.submit("declared", function(COUNTS, str(counted), expected_result_bytes=60_000))
    body = worker.answer("declared")
    assert body["output"]["error_kind"] == "result"
    assert not counted.exists()


def test_what_a_call_prints_is_told_while_it_runs(worker: LoopWorker, tmp_path: Path) -> None:
    platform = worker.platform
    platform.submit("told", function(WAITS, str(tmp_path / "begun"), str(tmp_path / "leave")))
    told = wait_until(lambda: platform.heard(Kind.PROGRESS, "told"), CALL_S, "a progress update")
    assert platform.answer("told") is None
    assert told[0].body == {"status": "IN_PROGRESS", "output": {"stdout": "begun\n", "stdout_bytes": 6}}
    (tmp_path / "leave").touch()
    worker.answer("told")
    assert len(platform.heard(Kind.PROGRESS, "told")) == 1


YIELDS = """
import asyncio
async def f(n):
    for number in range(n):
        yield {"number": number}
"""


def test_yielded_values_are_streamed_in_order_before_the_answer(worker: LoopWorker) -> None:
    platform = worker.platform
    platform.submit("stream", function(YIELDS, 200, stream=True))
    body = worker.answer("stream")
    assert body["output"]["json_result"] == [{"number": number} for number in range(200)]
    chunks = platform.heard(Kind.CHUNK, "stream")
    assert [chunk.body["output"]["number"] for chunk in chunks] == list(range(200))


def test_values_are_not_streamed_unless_asked_for(worker: LoopWorker) -> None:
    worker.platform.submit("plain", function(YIELDS, 3))
    assert len(worker.answer("plain")["output"]["json_result"]) == 3
    assert not worker.platform.heard(Kind.CHUNK, "plain")


def test_a_stop_signal_ends_the_call_and_nothing_is_answered(worker: LoopWorker, tmp_path: Path) -> None:
    platform = worker.platform
    platform.submit("stopped", function(ENDLESS, str(tmp_path / "begun")))
    wait_until((tmp_path / "begun").exists, CALL_S, "the job to run")
    platform.stop(worker.id, "unknown")
    platform.stop(worker.id, "stopped")
    platform.submit("next", function("def f():\n    return 1\n"))
    worker.answer("next")
    assert platform.answer("stopped") is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>502</html>", b"", b"[]", b"{}", b'{"id": "x"', b'{"id": "no-input"}', b"[" * 5000 + b"]" * 5000),
        *(b"[{}]", b"[1, null]", b'{"id": 5, "input": {}}', b'{"id": "", "input": {}}'),
    ],
    ids=[
        *("html", "empty", "list", "no fields", "cut off", "no input", "deep"),
        *("list of nothing", "list of numbers", "a number for an id", "an empty id"),
    ],
)
def test_what_is_no_job_is_survived(worker: LoopWorker, body: bytes, request: pytest.FixtureRequest) -> None:
    worker.platform.submit_raw(body)
    name = f"after-{request.node.callspec.id.replace(' ', '-')}"
    worker.platform.submit(name, function("def f():\n    return 1\n"))
    assert worker.answer(name)["output"]["json_result"] == 1


def test_a_job_whose_input_is_no_object_is_answered_with_the_reason(worker: LoopWorker) -> None:
    worker.platform.submit_raw(b'{"id": "odd", "input": "text"}')
    assert worker.answer("odd")["output"]["error_kind"] == "request"


def test_two_workers_share_two_long_jobs(platform: JobPlatform, worker: LoopWorker, tmp_path: Path) -> None:
    with loop_worker(platform, tmp_path / "home", "worker-2") as other:
        other.wait_for_polls(2)
        for job_id in ("long-1", "long-2"):
            platform.submit(job_id, function(WAITS, str(tmp_path / job_id), str(tmp_path / "leave")))
        wait_until(lambda: (tmp_path / "long-1").exists() and (tmp_path / "long-2").exists(), CALL_S, "both to run")
        (tmp_path / "leave").touch()
        for job_id in ("long-1", "long-2"):
            assert other.answer(job_id)["output"]["json_result"] == "waited"
        assert len({said.worker_id for said in platform.heard(Kind.DONE) if said.job_id.startswith("long-")}) == 2


def test_a_worker_with_slots_runs_jobs_side_by_side_and_each_job_once(tmp_path: Path) -> None:
    leave = str(tmp_path / "leave")
    with (
        job_platform() as platform,
        loop_worker(platform, tmp_path / "home", FLASHTRIAL_CONCURRENCY="3") as several,
    ):
        for job_id in ("a", "a", "b"):
            platform.submit(job_id, function(WAITS, str(tmp_path / job_id), leave))
        several.wait_for_polls()
        wait_until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists(), CALL_S, "both to run")
        assert platform.taken_by(several.id) == ["a", "a", "b"]
        (tmp_path / "leave").touch()
        assert several.answer("a")["output"]["json_result"] == several.answer("b")["output"]["json_result"] == "waited"
        assert (tmp_path / "a").read_text() == "x"
        assert len(platform.heard(Kind.DONE, "a")) == 1


def test_a_worker_whose_device_is_broken_is_given_up_and_takes_no_more(tmp_path: Path) -> None:
    broken = "def f():\n    raise RuntimeError('CUDA error: uncorrectable ECC error encountered')\n"
    with job_platform() as platform, loop_worker(platform, tmp_path / "home") as worker:
        platform.submit("broken", function(broken))
        platform.submit("next", function("def f():\n    return 1\n"))
        body = worker.answer("broken")
        assert body["stopPod"] is True
        assert body["output"]["error_kind"] == "user_code"
        assert worker.exit_code() == 0
        assert platform.taken_by(worker.id) == ["broken"]
