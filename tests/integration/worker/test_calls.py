"""Calls that go well and calls that go wrong, through the whole worker with real children."""

import asyncio
from typing import Any

import pytest

from flashtrial.worker.entrypoint import Worker
from testkit.calls import is_alive
from testkit.jobs import function_job, method_job, pickled, unpickled
from testkit.misbehaviour import ENDINGS

COUNTER = """
class Counter:
    def __init__(self, start):
        self.value = start

    def add(self, n):
        self.value += n
        return self.value

    def slow_add(self, n):
        import time
        seen = self.value
        time.sleep(0.05)
        self.value = seen + n
        return self.value

    def pid(self):
        import os
        return os.getpid()
"""

FINE = "def f():\n    return 'fine'\n"


async def test_arguments_and_results_of_any_kind_make_the_round_trip(worker: Worker) -> None:
    source = "def f(array, *, scale):\n    return {'sum': float(array.sum()) * scale, 'array': array * scale}\n"
    numpy = pytest.importorskip("numpy")
    job = function_job(source, kwargs={"array": pickled(numpy.arange(5.0)), "scale": pickled(2)})
    job["input"]["serialization_format"] = "cloudpickle"
    answer = await worker.handle(job)
    result = unpickled(answer["result"])
    assert result["sum"] == 20.0
    assert result["array"].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]


async def test_a_payload_of_megabytes_goes_in_and_comes_out(worker: Worker) -> None:
    text = "x" * 3_000_000
    answer = await worker.handle(function_job("def f(text):\n    return text + 'y'\n", "f", text))
    assert answer["json_result"] == text + "y"


async def test_classes_of_the_source_travel_back_by_value(worker: Worker) -> None:
    source = "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\ndef f():\n    return Point(3)\n"
    job = function_job(source)
    job["input"]["serialization_format"] = "cloudpickle"
    assert unpickled((await worker.handle(job))["result"]).x == 3


@pytest.mark.parametrize(("source", "kind", "words"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS])
async def test_code_that_ends_badly_is_answered_in_kind_and_the_next_call_works(
    forking_worker: Worker, source: str, kind: str, words: str
) -> None:
    answer = await forking_worker.handle(function_job(source))
    assert not answer["success"]
    assert answer["error_kind"] == kind, answer
    assert words in answer["error"]
    assert (await forking_worker.handle(function_job(FINE)))["json_result"] == "fine"


async def test_a_cancelled_call_is_ended_for_good_and_the_next_one_works(worker: Worker) -> None:
    # A loop that swallows everything, in C for most of the time.
    stubborn = """
import os, signal, sys
def f(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    while True:
        try:
            sum(range(10 ** 7))
        except BaseException:
            pass
"""
    import os
    from pathlib import Path

    from testkit.waiting import wait_until_async

    pid_file = Path(os.environ["FLASHTRIAL_HOME"]).parent / "pid"
    call = asyncio.create_task(worker.handle(function_job(stubborn, "f", str(pid_file))))
    await wait_until_async(lambda: pid_file.exists() and pid_file.read_text() != "", 10, "the call to be running")
    pid = int(pid_file.read_text())
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await wait_until_async(lambda: not Path(f"/proc/{pid}").exists(), 5, "the process to be gone")
    assert (await worker.handle(function_job(FINE)))["json_result"] == "fine"


async def test_an_instance_keeps_its_state_from_job_to_job(worker: Worker) -> None:
    answers = [await worker.handle(_add(n)) for n in (1, 1, 5)]
    assert [answer["json_result"] for answer in answers] == [11, 12, 17]
    assert [answer["instance_info"]["method_calls"] for answer in answers] == [1, 2, 3]
    assert answers[0]["instance_info"]["created_at"] == answers[2]["instance_info"]["created_at"]
    assert answers[2]["instance_info"]["memory_bytes"] > 1_000_000


async def test_concurrent_calls_on_one_instance_take_turns(worker: Worker) -> None:
    jobs = [method_job(COUNTER, "Counter", "c", "slow_add", 1, constructor_args=[0]) for _ in range(6)]
    answers = await asyncio.gather(*map(worker.handle, jobs))
    assert sorted(answer["json_result"] for answer in answers) == [1, 2, 3, 4, 5, 6]


async def test_an_instance_whose_process_was_killed_between_calls_is_told_as_lost(worker: Worker) -> None:
    import os
    import signal

    await worker.handle(_add(1))
    pid = (await worker.handle(method_job(COUNTER, "Counter", "c", "pid")))["json_result"]
    os.kill(pid, signal.SIGKILL)
    answer = await worker.handle(_add(5))
    assert (answer["success"], answer["error_kind"]) == (False, "worker_lost")
    assert "SIGKILL" in answer["error"]
    again = await worker.handle(_add(5))
    assert again["error_kind"] == "worker_lost"


async def test_an_instance_that_garbled_its_socket_is_told_as_lost_with_the_reason(forking_worker: Worker) -> None:
    source = """
import os, socket
class Rude:
    def ok(self):
        return 1
    def garble(self):
        for number in range(3, 64):
            try:
                endpoint = socket.socket(fileno=os.dup(number))
            except OSError:
                continue
            if endpoint.family == socket.AF_UNIX:
                endpoint.send(b"\\xff" * 64)
        while True:
            pass
"""
    await forking_worker.handle(method_job(source, "Rude", "r", "ok"))
    answer = await forking_worker.handle(method_job(source, "Rude", "r", "garble"))
    assert answer["error_kind"] == "user_code"
    lost = await forking_worker.handle(method_job(source, "Rude", "r", "ok"))
    assert lost["error_kind"] == "worker_lost"
    assert "sent the worker what it should not" in lost["error"]


async def test_a_constructor_that_raised_may_be_tried_again(worker: Worker) -> None:
    source = """
class Picky:
    def __init__(self, n):
        assert n > 0, 'not positive'

    def ok(self):
        return 1
"""
    first = await worker.handle(method_job(source, "Picky", "p", "ok", constructor_args=[0]))
    assert first["error_kind"] == "user_code"
    assert "not positive" in first["error"]
    second = await worker.handle(method_job(source, "Picky", "p", "ok", constructor_args=[1]))
    assert second["json_result"] == 1


async def test_the_same_worker_serves_from_one_event_loop_after_another(flashtrial_home: Any) -> None:
    from flashtrial.worker.ledger import MemoryLedger

    built = Worker("w", flashtrial_home, MemoryLedger("w"))

    def in_a_loop_of_its_own(job: dict[str, Any]) -> dict[str, Any]:
        return asyncio.run(built.handle(job))

    first = await asyncio.to_thread(in_a_loop_of_its_own, _add(1))
    second = await asyncio.to_thread(in_a_loop_of_its_own, _add(1))
    assert (first["json_result"], second["json_result"]) == (11, 12)
    await asyncio.to_thread(asyncio.run, built.close())


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": {}}, "function_name is required"),
        ({"input": {"function_name": 3}}, "function_name"),
        ({"input": {"function_name": "f", "args": "no list"}}, "args"),
        ({"input": {"function_name": "f"}}, "function_code is missing"),
        ({"input": {"function_name": "f", "function_code": "", "serialization_format": "xml"}}, "serialization_format"),
        ({"input": {"function_name": "f", "function_code": "", "args": [1]}}, "args[0] is a int"),
        ({"input": {"function_name": "f", "function_code": "def f(a): pass", "args": ["@@"]}}, "not base64"),
        ({"input": {"function_name": "f", "function_code": "def f(a): pass", "args": ["AAAA"]}}, "cannot be loaded"),
        ({"input": {"function_name": "f", "function_code": "def f(a): pass", "modules": {"../x.py": ""}}}, "../x.py"),
        ({"input": {"execution_type": "class", "class_name": "C"}}, "class_code is missing"),
        ({"input": {"function_name": "f", "function_code": "def f():\n    return '\ud800'\n"}}, "half of a surrogate"),
        ({"input": {"function_name": "f\udfff", "function_code": "def f(): pass"}}, "half of a surrogate"),
        (
            {"input": {"function_name": "f", "function_code": "def f(): pass", "modules": {"m.py": "x = '\ud83d'"}}},
            "half of a surrogate",
        ),
        ("not an object", "input"),
    ],
)
async def test_a_request_that_cannot_be_used_is_told_what_is_wrong(
    forking_worker: Worker, event: Any, words: str
) -> None:
    answer = await forking_worker.handle(event)
    assert (answer["success"], answer["error_kind"]) == (False, "request")
    assert words in answer["error"]
    assert isinstance(answer["stdout"], str)


async def test_arguments_nested_ten_thousand_deep_do_not_harm_the_worker(forking_worker: Worker) -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    answer = await forking_worker.handle(function_job("def f(x):\n    return 1\n", "f", deep))
    assert not answer["success"]
    assert (await forking_worker.handle(function_job(FINE)))["json_result"] == "fine"


def _add(n: int) -> dict[str, Any]:
    return method_job(COUNTER, "Counter", "c", "add", n, constructor_args=[10])


async def test_requests_that_make_one_instance_anew_at_once_leave_one_process(forking_worker: Worker) -> None:
    source = "import os\nclass C:\n    def pid(self):\n        return os.getpid()\n"
    job = method_job(source, "C", "again", "pid")
    anew = method_job(source, "C", "again", "pid", create_new_instance=True)
    answers = await asyncio.gather(*(forking_worker.handle(anew) for _ in range(6)))
    pids = {answer["json_result"] for answer in answers if answer["success"]}
    last = (await forking_worker.handle(job))["json_result"]
    assert {pid for pid in pids if is_alive(pid)} == {last}
