"""What clients see of a careful worker: progress, streams, sizes, drains; local RunPod, real loop, real children."""

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from testkit.waiting import wait_until

from .conftest import JOB_S, Instance

pytestmark = pytest.mark.timeout(120)

WAITS = """
import os, time
def f(begun, leave):
    print("epoch 1", flush=True)
    with open(begun + ".new", "w") as file:
        file.write(str(os.getppid()))
    os.rename(begun + ".new", begun)
    while not os.path.exists(leave):
        time.sleep(0.01)
    return os.environ["FLASHTRIAL_WORKER_ID"]
"""
YIELDS = "def f(n):\n    for number in range(n):\n        yield number\n"


def function(source: str, *args: Any, **more: Any) -> dict[str, Any]:
    request = {"function_name": "f", "function_code": source, "args": list(args), "serialization_format": "json"}
    return {**request, **more}


@pytest.fixture(scope="module")
def endpoint(instance: Instance) -> str:
    return instance.endpoint("worker-loop")


def status(instance: Instance, endpoint: str, job: str) -> dict[str, Any]:
    _status, answer = instance.call("GET", f"/v2/{endpoint}/status/{job}?wait=0")
    assert isinstance(answer, dict)
    return answer


def test_a_running_job_shows_what_it_printed_and_the_endpoint_that_it_is_busy(
    instance: Instance, endpoint: str, tmp_path: Path
) -> None:
    job = instance.submit(endpoint, function(WAITS, str(tmp_path / "begun"), str(tmp_path / "leave")))
    shown = wait_until(lambda: status(instance, endpoint, job).get("output"), JOB_S, "progress to be shown")
    assert shown == {"stdout": "epoch 1\n", "stdout_bytes": 8}
    _, health = instance.call("GET", f"/v2/{endpoint}/health")
    assert (health["jobs"]["inProgress"], health["workers"]["running"]) == (1, 1)
    (tmp_path / "leave").touch()
    assert instance.result(endpoint, job)["output"]["stdout"] == "epoch 1\n"


def test_a_generators_values_arrive_one_by_one(instance: Instance, endpoint: str) -> None:
    job = instance.submit(endpoint, function(YIELDS, 30, stream=True))
    seen: list[Any] = []
    while True:
        _, answer = instance.call("GET", f"/v2/{endpoint}/stream/{job}")
        seen += [chunk["output"] for chunk in answer["stream"]]
        if answer["status"] == "COMPLETED" and not answer["stream"]:
            break
    assert seen == list(range(30))
    assert instance.result(endpoint, job)["output"]["json_result"] == list(range(30))


LARGE = "def f():\n    print('before')\n    return 'x' * 10_500_000\n"


def test_a_result_that_the_platform_would_refuse_lies_at_the_server(instance: Instance, endpoint: str) -> None:
    ended = instance.run(endpoint, function(LARGE))
    assert ended["status"] == "COMPLETED"
    assert ended["output"]["stdout"].startswith("before\n[flashtrial] the result (10,500,002 bytes)")
    with urllib.request.urlopen(ended["output"]["result_ref"]["url"], timeout=30) as answer:
        assert json.load(answer) == "x" * 10_500_000


def test_a_result_just_under_the_limit_comes_through(instance: Instance, endpoint: str) -> None:
    ended = instance.run(endpoint, function("def f():\n    return 'x' * 9_990_000\n"))
    assert len(ended["output"]["json_result"]) == 9_990_000


def test_two_workers_with_one_slot_each_take_one_long_job_each(instance: Instance, tmp_path: Path) -> None:
    endpoint = instance.endpoint("two-long-jobs", workers=2, FLASHTRIAL_CONCURRENCY="1")
    leave = tmp_path / "leave"
    jobs = [instance.submit(endpoint, function(WAITS, str(tmp_path / name), str(leave))) for name in "ab"]
    wait_until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists(), JOB_S, "both to run at once")
    leave.touch()
    workers = {instance.result(endpoint, job)["output"]["json_result"] for job in jobs}
    assert len(workers) == 2


def test_a_worker_that_is_told_to_leave_finishes_its_job_and_another_takes_the_next(
    instance: Instance, tmp_path: Path
) -> None:
    endpoint = instance.endpoint("leaving", FLASHTRIAL_CONCURRENCY="1")  # no poll is open while the job runs
    begun, leave = tmp_path / "begun", tmp_path / "leave"
    job = instance.submit(endpoint, function(WAITS, str(begun), str(leave)))
    wait_until(begun.exists, JOB_S, "the job to run")
    worker = psutil.Process(int(begun.read_text())).parent()
    assert worker is not None
    os.kill(worker.pid, signal.SIGTERM)
    leave.touch()
    ended = instance.result(endpoint, job)
    assert ended["status"] == "COMPLETED", ended
    again = instance.run(endpoint, function("import os\ndef f():\n    return os.environ['FLASHTRIAL_WORKER_ID']\n"))
    assert again["output"]["json_result"] != ended["output"]["json_result"]
    wait_until(lambda: not worker.is_running(), JOB_S, "the worker to be gone")


def test_a_job_that_its_worker_cannot_finish_in_time_is_told_as_lost(instance: Instance, tmp_path: Path) -> None:
    endpoint = instance.endpoint("hurried")
    begun = tmp_path / "begun"
    job = instance.submit(endpoint, function(WAITS, str(begun), str(tmp_path / "never")))
    wait_until(begun.exists, JOB_S, "the job to run")
    worker = psutil.Process(int(begun.read_text())).parent()
    assert worker is not None
    os.kill(worker.pid, signal.SIGTERM)
    ended = instance.result(endpoint, job)
    assert (ended["status"], ended["output"]["error_kind"]) == ("FAILED", "worker_lost")
    assert ended["output"]["stdout"] == "epoch 1\n"
