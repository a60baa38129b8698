"""Calls that are answered at once take a shorter way: without the event loop, and through a pipe that is kept."""

import asyncio

import pytest

from flashtrial.process.environment import BASE
from flashtrial.process.outcome import Died, Outcome, Returned
from flashtrial.process.output import OutputBuffer
from flashtrial.process.supervisor import Supervisor
from testkit.calls import FINE, json_call, result_of

pytestmark = pytest.mark.integration

PIPE = "import os\ndef f():\n    return os.readlink('/proc/self/fd/1')\n"
QUICK_CALLS = 5000
TALKER = """
import os, subprocess, threading
class C:
    def pipe(self):
        return os.readlink("/proc/self/fd/1")
    def start(self):
        self.child = subprocess.Popen(["sh", "-c", "read go; echo from the past"], stdin=subprocess.PIPE)
        return self.pipe()
    def start_thread(self):
        self.go = threading.Event()
        threading.Thread(target=self.go.wait, daemon=True).start()
        return self.pipe()
    def finish(self):
        self.child.communicate(b"go\\n")
        print("of this call")
        return self.pipe()
"""


async def test_calls_that_leave_nothing_behind_share_a_pipe(forking: Supervisor) -> None:
    first = await result_of(forking, PIPE)
    assert isinstance(first, Returned)
    assert await result_of(forking, PIPE) == first


@pytest.mark.parametrize("leaving", ["start", "start_thread"])
async def test_a_call_that_leaves_a_writer_behind_leaves_it_its_pipe(forking: Supervisor, leaving: str) -> None:
    spec = json_call(TALKER, "C", method="pipe", construct=True)
    child = await forking.new_child(BASE, spec, holds_instance=True)

    async def pipe(method: str) -> Outcome:
        return await child.call(json_call(TALKER, "C", method=method), OutputBuffer())

    kept = await child.call(spec, OutputBuffer())
    assert await pipe(leaving) == kept
    fresh = await pipe("pipe")
    assert isinstance(fresh, Returned)
    assert fresh != kept


async def test_what_a_process_of_an_earlier_call_says_is_in_no_later_answer(forking: Supervisor) -> None:
    spec = json_call(TALKER, "C", method="start", construct=True)
    child = await forking.new_child(BASE, spec, holds_instance=True)
    await child.call(spec, OutputBuffer())
    output = OutputBuffer()
    await child.call(json_call(TALKER, "C", method="finish"), output)
    assert output.text() == "of this call\n"


async def test_each_call_through_a_kept_pipe_has_its_own_output(supervisor: Supervisor) -> None:
    source = "import os, sys\ndef f(n):\n    print(n)\n    sys.stderr.write('!\\n')\n    os.write(1, b'?')\n"
    for number in range(50):
        output = OutputBuffer()
        await supervisor.run_function(BASE, json_call(source, "f", number), output)
        assert output.text() == f"{number}\n!\n?"


async def test_a_call_that_closes_its_output_costs_the_next_one_nothing(supervisor: Supervisor) -> None:
    closing = "import os\ndef f():\n    print('heard', flush=True)\n    os.close(1)\n    os.close(2)\n"
    output = OutputBuffer()
    await supervisor.run_function(BASE, json_call(closing), output)
    assert output.text() == "heard\n"
    output = OutputBuffer()
    await supervisor.run_function(BASE, json_call("def f():\n    print('again')\n"), output)
    assert output.text() == "again\n"


async def test_a_quick_child_that_dies_in_a_call_is_told_as_dead_with_its_last_words(forking: Supervisor) -> None:
    for _ in range(20):
        await result_of(forking, FINE)
    output = OutputBuffer()
    dying = "import os\ndef f():\n    print('last words', flush=True)\n    os._exit(7)\n"
    assert await forking.run_function(BASE, json_call(dying), output) == Died(7)
    assert output.text() == "last words\n"
    assert await result_of(forking, FINE) == Returned(b'"fine"')


async def test_others_get_their_turn_while_one_makes_quick_calls(forking: Supervisor) -> None:
    had_turn = asyncio.Event()

    async def other() -> None:
        await asyncio.sleep(0)
        had_turn.set()

    waiting = asyncio.create_task(other())
    for _ in range(QUICK_CALLS):
        await result_of(forking, FINE)
        if had_turn.is_set():
            break
    assert had_turn.is_set()
    await waiting


async def test_a_task_that_makes_quick_calls_for_ever_can_be_cancelled(forking: Supervisor) -> None:
    calls = 0

    async def for_ever() -> None:
        nonlocal calls
        while calls < QUICK_CALLS:
            await result_of(forking, FINE)
            calls += 1

    calling = asyncio.create_task(for_ever())
    while not calls:
        await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert calls < QUICK_CALLS
    assert await result_of(forking, FINE) == Returned(b'"fine"')


async def test_a_slow_call_after_quick_ones_blocks_nobody(forking: Supervisor) -> None:
    for _ in range(20):
        await result_of(forking, FINE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    slow = "import time\ndef f():\n    time.sleep(0.1)\n"
    assert await result_of(forking, slow) == Returned(b"null")
    counting.cancel()
    assert turns > 10
