"""Cancels, deaths, ends and closing loops at the same time: every call ends once, and nothing is left."""

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path

import pytest

from flashtrial.process.child import CallLimits
from flashtrial.process.environment import BASE
from flashtrial.process.launch import Launcher, StartMethod
from flashtrial.process.outcome import Died, Returned, TimedOut
from flashtrial.process.output import OutputBuffer
from flashtrial.process.supervisor import Supervisor
from testkit.calls import FINE, is_alive, json_call, open_descriptors, result_of, works
from testkit.waiting import wait_until_async

TELLS_PID = """
import os, signal, time
def tell(path):
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
"""
SLEEPS = TELLS_PID + "def f(path):\n    tell(path)\n    time.sleep(60)\n"
IGNORES_ALL = (
    TELLS_PID
    + """
def f(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    tell(path)
    sum(range(10**12))
"""
)


async def test_a_call_whose_child_is_ended_by_somebody_else_comes_back(supervisor: Supervisor, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    call = asyncio.create_task(result_of(supervisor, SLEEPS, str(mark)))
    await wait_until_async(mark.exists)
    await supervisor.close()
    async with asyncio.timeout(5):
        assert isinstance(await call, Died)


async def test_a_call_that_is_cancelled_again_and_again_is_over_when_it_says_so(
    supervisor: Supervisor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await works(supervisor)
    before, mark = open_descriptors(), tmp_path / "pid"
    call = asyncio.create_task(result_of(supervisor, IGNORES_ALL, str(mark)))
    await wait_until_async(mark.exists)
    for _ in range(20):
        call.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not is_alive(int(mark.read_text()))
    await wait_until_async(lambda: asyncio.all_tasks() == {asyncio.current_task()}, 5, "every task to end")
    assert open_descriptors() <= before
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_loop_that_closes_while_a_dead_call_is_buried_does_not_wait_for_ever(tmp_path: Path) -> None:
    mark, supervisor = tmp_path / "pid", Supervisor(Launcher(dict(os.environ), StartMethod.FORK))
    # closes its socket and lives on: it is given a moment to end by itself, and in that the loop closes
    source = TELLS_PID + "def f(path):\n    os.closerange(3, 4096)\n    tell(path)\n    time.sleep(60)\n"

    async def leave() -> None:
        call = asyncio.create_task(result_of(supervisor, source, str(mark)))
        await wait_until_async(mark.exists)
        await asyncio.sleep(0)
        del call

    asyncio.run(leave())
    assert not is_alive(int(mark.read_text()))
    asyncio.run(supervisor.close())


def test_two_loops_in_turn_and_the_first_again_hear_the_same_child() -> None:
    supervisor = Supervisor(Launcher(dict(os.environ), StartMethod.FORK))
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    crash = "import os\ndef f():\n    os._exit(3)\n"
    try:
        for loop in (first, second, first, second, second, first):
            assert loop.run_until_complete(works(supervisor))
            loop.run_until_complete(result_of(supervisor, FINE))
        for loop in (first, second, first):  # descriptor numbers are used again
            assert loop.run_until_complete(result_of(supervisor, crash)) == Died(3)
            assert loop.run_until_complete(works(supervisor))
    finally:
        second.run_until_complete(supervisor.close())
        first.close()
        second.close()


async def test_how_a_child_ended_may_be_asked_by_several_and_after_a_cancel(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    spec = json_call(FINE)
    child = await supervisor.new_child(BASE, spec, holds_instance=False)
    asked = [asyncio.create_task(child.process.exit_code()) for _ in range(3)]
    await asyncio.sleep(0)
    asked[0].cancel()
    os.kill(child.process.pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        assert [await task for task in asked[1:]] == [-9, -9]
        assert await child.process.exit_code() == -9
    await supervisor.end(child)


async def test_the_session_of_a_child_that_died_unseen_ends_with_it_though_it_was_signalled_after(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    mark = tmp_path / "grandchild"
    source = "import os\ndef f(path):\n    os.system(f'sleep 99 & echo $! > {path}.new; mv {path}.new {path}')\n"
    child = await supervisor.new_child(BASE, json_call(source), holds_instance=True)
    pid = child.process.pid
    await child.call(json_call(source, "f", str(mark)), OutputBuffer())
    grandchild = int(mark.read_text())
    assert is_alive(grandchild)
    os.kill(pid, signal.SIGKILL)
    await wait_until_async(lambda: not is_alive(pid))
    child.process.signal_leader(signal.SIGUSR1)
    await supervisor.end(child)
    await wait_until_async(lambda: not is_alive(grandchild), 5, "the grandchild to end")


async def test_calls_cancels_and_deaths_leave_no_descriptor(forking: Supervisor) -> None:
    assert await works(forking)
    before = open_descriptors()
    loud = "def f():\n    while True:\n        print('x' * 70_000)\n"
    for place in range(40):
        assert isinstance(await result_of(forking, "def f():\n    return 'y' * 70_000\n"), Returned)
        assert await result_of(forking, "import os\ndef f():\n    os._exit(3)\n") == Died(3)
        call = asyncio.create_task(result_of(forking, loud))
        await asyncio.sleep(0.0005 * place)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
    await wait_until_async(lambda: open_descriptors() <= before, 5, "the descriptors to be closed")


async def test_what_cannot_be_sent_costs_no_child(supervisor: Supervisor) -> None:
    child = await supervisor.new_child(BASE, json_call(FINE), holds_instance=True)
    with pytest.raises(TypeError):
        await child.call(json_call("\ud800"), OutputBuffer())
    assert child.takes_calls
    assert await child.call(json_call(FINE), OutputBuffer()) == Returned(b'"fine"')


async def test_a_flood_from_the_background_does_not_hold_up_the_answer(forking: Supervisor) -> None:
    async with asyncio.timeout(10):
        source = "import os\ndef f():\n    os.system('yes & yes & yes &')\n    return 1\n"
        assert await result_of(forking, source) == Returned(b"1")
        assert await works(forking)


async def test_late_output_is_heard_in_the_next_loop_too(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    supervisor = Supervisor(Launcher(dict(os.environ), StartMethod.FORK))
    source = "import os\ndef f(path):\n    os.system(f'while [ ! -e {path} ]; do sleep 0.01; done; echo late &')\n"
    source = source.replace("os.system(f'while", "os.system(f'(while").replace("echo late &", "echo late) &")
    gate = tmp_path / "gate"

    async def begin() -> object:
        child = await supervisor.new_child(BASE, json_call(source), holds_instance=True)
        await child.call(json_call(source, "f", str(gate)), OutputBuffer())
        return child

    async def hear(child: object) -> None:
        await child.call(json_call(FINE), OutputBuffer())  # type: ignore[attr-defined]
        gate.touch()
        await wait_until_async(lambda: "late" in caplog.text.replace("late output", ""), 5, "the late words")
        await supervisor.close()

    loop = asyncio.get_running_loop()
    child = await loop.run_in_executor(None, lambda: asyncio.run(begin()))
    await loop.run_in_executor(None, lambda: asyncio.run(hear(child)))


async def test_a_call_is_ended_in_time_though_its_template_is_busy_importing(
    forking: Supervisor, tmp_path: Path
) -> None:
    from flashtrial.process.environment import Environment

    (tmp_path / "takes_long.py").write_text("import time\ntime.sleep(4)\n")
    environment = Environment("slow", (tmp_path,))
    assert await works(forking, environment)
    loop_source = json_call("def f():\n    while True:\n        pass\n")
    mark = tmp_path / "pid"
    dies = TELLS_PID + "def f(path):\n    tell(path)\n    time.sleep(0.5)\n    os._exit(7)\n"
    doomed = asyncio.create_task(result_of(forking, dies, str(mark), environment=environment))
    await wait_until_async(mark.exists)
    timed = asyncio.create_task(
        forking.run_function(environment, loop_source, OutputBuffer(), CallLimits(timeout_s=0.3))
    )
    await asyncio.sleep(0.05)
    importing = asyncio.create_task(
        result_of(forking, "def f():\n    import takes_long\n    return 1\n", environment=environment)
    )
    assert await timed == TimedOut(0.3)
    assert await doomed == Died(7)
    assert not importing.done()
    assert await importing == Returned(b"1")
