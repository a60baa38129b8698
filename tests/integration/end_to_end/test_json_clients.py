"""Clients without the SDK: JSON over HTTP, through the queue and the real worker loop."""

import json
import os
import signal
from typing import Any

import pytest
import urllib3

from .conftest import Instance

pytestmark = pytest.mark.timeout(120)

COUNTER = """
class Counter:
    def __init__(self, start):
        self.value = start

    def add(self, n):
        self.value += n
        return self.value

    def pid(self):
        import os
        return os.getpid()
"""


def function(source: str, *args: Any, **more: Any) -> dict[str, Any]:
    request = {"function_name": "f", "function_code": source, "args": list(args), "serialization_format": "json"}
    return {**request, **more}


def method(name: str, instance_id: str, *args: Any) -> dict[str, Any]:
    return {
        "execution_type": "class",
        "class_name": "Counter",
        "class_code": COUNTER,
        "constructor_args": [10],
        "instance_id": instance_id,
        "create_new_instance": False,
        "method_name": name,
        "args": list(args),
        "serialization_format": "json",
    }


@pytest.fixture(scope="module")
def endpoint(instance: Instance) -> str:
    return instance.endpoint("json-clients")


def test_a_function_with_json_arguments(instance: Instance, endpoint: str) -> None:
    ended = instance.run(endpoint, function("def f(a, b):\n    print('sum')\n    return {'sum': a + b}\n", 2, 3))
    assert ended["status"] == "COMPLETED"
    assert ended["output"]["json_result"] == {"sum": 5}
    assert ended["output"]["stdout"] == "sum\n"


def test_a_module_written_for_the_next_sdk(instance: Instance, endpoint: str) -> None:
    source = """
import runpod

app = runpod.App("demo")
OFFSET = 100

@app.queue(gpu="any")
async def f(x, times=1):
    return OFFSET + x * times
"""
    ended = instance.run(endpoint, function(source, 7, kwargs={"times": 3}))
    assert ended["output"]["json_result"] == 121


def test_a_counter_counts_from_job_to_job_and_is_lost_with_its_process(instance: Instance, endpoint: str) -> None:
    first, second = (instance.run(endpoint, method("add", "counter-1", 1)) for _ in range(2))
    assert [first["output"]["json_result"], second["output"]["json_result"]] == [11, 12]

    pid = instance.run(endpoint, method("pid", "counter-1"))["output"]["json_result"]
    os.kill(pid, signal.SIGKILL)
    third = instance.run(endpoint, method("add", "counter-1", 5))
    assert third["status"] == "FAILED"
    assert third["output"]["error_kind"] == "worker_lost"
    assert "counter-1" in third["error"]


def test_two_workers_of_one_endpoint_never_start_a_counter_again(instance: Instance) -> None:
    endpoint = instance.endpoint("two-workers", workers=2, FLASHTRIAL_CONCURRENCY="1")
    # two slow jobs at once make sure that both workers are up
    slow = function("import time\ndef f():\n    time.sleep(1.0)\n    return 1\n")
    for job in [instance.submit(endpoint, slow) for _ in range(2)]:
        assert instance.result(endpoint, job)["status"] == "COMPLETED"
    answers = [instance.run(endpoint, method("add", "shared-counter", n)) for n in (1, 1, 5, 1, 1, 1)]
    expected = 10
    for answer, n in zip(answers, (1, 1, 5, 1, 1, 1), strict=True):
        if answer["status"] == "COMPLETED":
            expected += n
            assert answer["output"]["json_result"] == expected
        else:
            assert answer["output"]["error_kind"] == "worker_lost", answer
            assert "held by" in answer["error"]
    assert answers[0]["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import sys\ndef f():\n    sys.exit(1)\n", "user_code"),
        ("import os\ndef f():\n    os._exit(1)\n", "user_code"),
        ("import ctypes\ndef f():\n    ctypes.string_at(0)\n", "user_code"),
        ("import os, signal\ndef f():\n    os.kill(os.getpid(), signal.SIGKILL)\n", "worker_lost"),
    ],
    ids=["sys.exit", "os._exit", "segfault", "kill"],
)
def test_code_that_ends_its_process_fails_its_job_and_no_other(
    instance: Instance, endpoint: str, source: str, kind: str
) -> None:
    ended = instance.run(endpoint, function(source))
    assert ended["status"] == "FAILED"
    assert ended["output"]["error_kind"] == kind
    assert ended["error"]
    assert instance.run(endpoint, function("def f():\n    return 'fine'\n"))["output"]["json_result"] == "fine"


def test_concurrent_jobs_never_see_each_others_output(instance: Instance, endpoint: str) -> None:
    source = """
import os, time
def f(mark):
    for place in range(20):
        print(mark, place)
        os.system(f"echo {mark} shell {place}") if place % 10 == 0 else time.sleep(0.005)
"""
    jobs = {mark: instance.submit(endpoint, function(source, mark)) for mark in "abcd"}
    for mark, job in jobs.items():
        lines = instance.result(endpoint, job)["output"]["stdout"].splitlines()
        assert len(lines) == 22
        assert all(line.startswith(mark) for line in lines)


def test_a_running_job_that_is_cancelled_ends_for_good(instance: Instance, endpoint: str) -> None:
    from pathlib import Path

    from testkit.waiting import wait_until

    pid_file = instance.home.parent / "cancelled.pid"
    source = """
import os
def f(path):
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    while True:
        pass
"""
    job = instance.submit(endpoint, function(source, str(pid_file)))
    wait_until(pid_file.exists, 30, "the job to run")
    status, _answer = instance.call("POST", f"/v2/{endpoint}/cancel/{job}")
    assert status == 200
    assert instance.result(endpoint, job)["status"] == "CANCELLED"
    process = Path(f"/proc/{pid_file.read_text()}")
    wait_until(lambda: not process.exists(), 30, "the process of the cancelled job to be gone")
    assert instance.run(endpoint, function("def f():\n    return 'fine'\n"))["output"]["json_result"] == "fine"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'"text"',
        b"{}",
        b'{"input": 3',
        b'{"input": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"input": {"x": "' + b"y" * (20 * 1024 * 1024) + b'"}}',
        b"\xff\xfe",
    ],
    ids=["empty", "text", "list", "string", "no input", "cut off", "deep", "20 MB", "no UTF-8"],
)
def test_a_body_that_is_no_job_gets_a_clear_error(instance: Instance, endpoint: str, body: bytes) -> None:
    status, answer = instance.call("POST", f"/v2/{endpoint}/run", body)
    assert status in (400, 413)
    assert answer["error"]
    assert instance.call("GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"function_name": "f"},
        {"function_name": "f", "function_code": "def f(x): pass", "args": ["not base64!"]},
        {"function_name": ["f"], "function_code": 3},
        {"execution_type": "neither"},
    ],
)
def test_a_job_that_is_no_request_fails_with_the_reason(
    instance: Instance, endpoint: str, request_: dict[str, Any]
) -> None:
    ended = instance.run(endpoint, request_)
    assert ended["status"] == "FAILED"
    assert ended["output"]["error_kind"] == "request"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer guess"},
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
        {"Origin": "https://evil.example", "Authorization": "KEY"},
        {"Host": "rebound.example", "Authorization": "KEY"},
    ],
    ids=["no key", "wrong key", "a visited page", "a visited page with the key", "rebound name"],
)
def test_a_request_as_a_web_page_would_send_it_runs_nothing(
    instance: Instance, endpoint: str, headers: dict[str, str]
) -> None:
    mark = instance.home.parent / "was-run"
    body = json.dumps({"input": function(f"def f():\n    open({str(mark)!r}, 'w')\n")}).encode()
    sent = {name: value.replace("KEY", f"Bearer {instance.key}") for name, value in headers.items()}
    with urllib3.PoolManager() as page:
        for path in (f"/v2/{endpoint}/run", f"/v2/{endpoint}/runsync"):
            response = page.request("POST", instance.url + path, body=body, headers=sent, retries=False)
            assert response.status in (401, 403)
    instance.run(endpoint, function("def f():\n    return 1\n"))  # what was queued before it would have run by now
    assert not mark.exists()
