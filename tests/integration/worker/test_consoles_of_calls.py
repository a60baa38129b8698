"""What a call prints is in the console of the run that it touched, while the call runs."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.ledger import MemoryLedger
from testkit.jobs import function_job, method_job
from testkit.journals import records
from testkit.waiting import wait_until

pytestmark = pytest.mark.integration

WAITING = """
def f(flag):
    import os, time
    print("before the run")
    import flashtrial
    run = flashtrial.init(run_id="run_1")
    print("secret is hf_abcdefghijklmnopqrstuvwxyz012345")
    print("\\r10%\\r100%")
    while not os.path.exists(flag):
        time.sleep(0.01)
    os.write(2, b"no end of line")
"""

TWO_RUNS = """
def f(flag):
    import flashtrial, os, time
    print("of the first")
    first = flashtrial.init(run_id="run_1")
    print("of the first, too")
    with flashtrial.init(run_id="run_2"):
        while not os.path.exists(flag):
            time.sleep(0.01)
        print("of the second")
"""

IN_THREADS = """
def f(count):
    import flashtrial, threading
    run = flashtrial.init(run_id="run_1")
    others = [flashtrial.init(run_id=f"run_{number}") for number in range(2, 2 + count)]
    threads = [threading.Thread(target=other.log, args=({"x": 1},)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "x" * 300_000
"""

ONE_AFTER_THE_OTHER = """
def f(count):
    import flashtrial
    for number in range(count):
        with flashtrial.init(run_id=f"run_{number}"):
            print("right after the beginning of", number)
            print("right before the end of", number, end="")
"""

SECRETS = """
def f():
    import flashtrial
    with flashtrial.init(run_id="run_1", config={"api_key": "swordfish-of-mine"}) as run:
        print("the key is swordfish-of-mine")
        run.update_config({"db": {"password": "open-sesame-please"}})
        print("the password is open-sesame-please")
"""

SECRET_OF_INSTANCE = """
import flashtrial
class Trainer:
    def __init__(self):
        self.run = flashtrial.init(run_id="run_1", config={"api_key": "swordfish-of-mine"})
    def step(self, number):
        print("step", number, "with swordfish-of-mine")
        self.run.log({"x": number})
"""

TRAINER = """
import flashtrial
class Trainer:
    def __init__(self):
        self.run = flashtrial.init(run_id="run_1")
    def step(self, number):
        print("step", number)
        self.run.log({"x": number})
"""


@pytest.fixture
def outbox(flashtrial_home: Path) -> Path:
    return flashtrial_home / "outbox"


@pytest.fixture
async def worker(flashtrial_home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    monkeypatch.setenv("FLASHTRIAL_CONSOLE", "true")
    worker = Worker("worker-a", flashtrial_home, MemoryLedger("worker-a"))
    yield worker
    await worker.close()


def lines(outbox: Path, run_id: str) -> list[str]:
    """The console of a run, in order."""
    bodies = [record.body for record in records(outbox) if record.kind == "console" and record.run_id == run_id]
    return [body["text"] for body in sorted(bodies, key=lambda body: body["line"])]


async def test_lines_are_recorded_while_the_call_runs_masked_and_folded(
    worker: Worker, outbox: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    call = asyncio.create_task(worker.handle(function_job(WAITING, "f", str(flag))))
    try:
        await asyncio.to_thread(wait_until, lambda: len(lines(outbox, "run_1")) == 3, what="the lines so far")
        assert not call.done()
    finally:
        flag.touch()
    answer = await call
    assert answer["success"], answer
    wait_until(lambda: len(lines(outbox, "run_1")) == 4, what="the last line")
    *whole, last = lines(outbox, "run_1")
    assert whole == ["before the run", "secret is ***", "100%"]
    assert last.startswith("no end of line")
    assert "secret is hf_" in answer["stdout"], "the answer is the caller's own"


def guests_through(outbox: Path) -> int:
    """How many consoles have been written to their end."""
    states = [record.body for record in records(outbox) if record.kind == "state" and "guest" in record.body]
    return [state["status"] for state in states].count("finished")


async def test_the_run_that_was_touched_last_gets_the_lines(worker: Worker, outbox: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    call = asyncio.create_task(worker.handle(function_job(TWO_RUNS, "f", str(flag))))
    try:
        await asyncio.to_thread(wait_until, lambda: guests_through(outbox) == 1, what="the first run's console to end")
    finally:
        flag.touch()
    await call
    await worker.close()
    assert lines(outbox, "run_1")[0] == "of the first"
    assert "of the second" not in lines(outbox, "run_1")
    assert "of the second" in lines(outbox, "run_2")
    assert guests_through(outbox) == 2, "nobody takes the console for a dead writer"


async def test_each_of_several_runs_of_a_call_gets_what_was_printed_in_it(worker: Worker, outbox: Path) -> None:
    answer = await worker.handle(function_job(ONE_AFTER_THE_OTHER, "f", 8))
    assert answer["success"], answer
    await worker.close()
    for number in range(8):
        printed = "\n".join(lines(outbox, f"run_{number}"))
        of_runs = re.findall(r"right (after|before) the \w+ of (\d)", printed)
        assert of_runs == [("after", str(number)), ("before", str(number))]


async def test_secrets_of_a_run_s_configuration_are_in_no_line_of_its_console(worker: Worker, outbox: Path) -> None:
    answer = await worker.handle(function_job(SECRETS, "f"))
    assert "swordfish-of-mine" in answer["stdout"], "the answer is the caller's own"
    await worker.close()
    said = lines(outbox, "run_1")
    assert "the key is ***" in said
    assert "the password is ***" in said


async def test_secrets_that_an_earlier_call_named_are_masked_in_the_next_one_s(worker: Worker, outbox: Path) -> None:
    for number in (1, 2):
        assert (await worker.handle(method_job(SECRET_OF_INSTANCE, "Trainer", "one", "step", number)))["success"]
    await worker.close()
    printed = [record.body["text"] for record in records(outbox) if record.kind == "console"]
    assert sorted(printed) == ["step 1 with ***", "step 2 with ***"]


async def test_a_call_without_a_run_leaves_no_console(worker: Worker, outbox: Path) -> None:
    assert (await worker.handle(function_job("def f():\n    print('hello')\n")))["stdout"] == "hello\n"
    await worker.close()
    assert not list(outbox.glob("*"))


async def test_each_method_that_logs_has_its_lines_in_the_run_of_its_instance(worker: Worker, outbox: Path) -> None:
    for number in (1, 2):
        answer = await worker.handle(method_job(TRAINER, "Trainer", "one", "step", number))
        assert answer["success"], answer
    await worker.close()
    printed = [record.body["text"] for record in records(outbox) if record.kind == "console"]
    assert sorted(printed) == ["step 1", "step 2"]


async def test_runs_that_are_touched_in_many_threads_do_not_garble_what_the_child_says(worker: Worker) -> None:
    for _ in range(3):
        answer = await worker.handle(function_job(IN_THREADS, "f", 40))
        assert answer["json_result"] == "x" * 300_000
