"""How a process ended is told although its template has much to do at that moment."""

import asyncio
from pathlib import Path

import pytest

from flashtrial.process.environment import BASE
from flashtrial.process.outcome import Died
from flashtrial.process.supervisor import Supervisor
from testkit.calls import result_of
from testkit.waiting import wait_until_async

pytestmark = pytest.mark.integration

EXITS = """
import os, time
def f(begun, leave, code):
    with open(begun + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(begun + ".new", begun)
    while not os.path.exists(leave):
        time.sleep(0.005)
    os._exit(code)
"""


async def test_a_process_that_exited_is_told_with_its_code_though_its_template_is_busy(
    forking: Supervisor, tmp_path: Path
) -> None:
    begun, leave = tmp_path / "begun", tmp_path / "leave"
    call = asyncio.create_task(result_of(forking, EXITS, str(begun), str(leave), 7))
    await wait_until_async(begun.exists, 20, "the call to run")
    process = Path(f"/proc/{begun.read_text()}")
    with forking._launcher._templates[BASE.key]._lock:  # somebody else's request is under way
        leave.touch()
        await wait_until_async(lambda: not process.exists(), 10, "the template to have reaped it")
        await asyncio.wait({call}, timeout=0.5)
        assert not call.done()
    assert await call == Died(7)


async def test_many_that_exit_at_once_are_each_told_with_their_code(forking: Supervisor) -> None:
    source = "import os\ndef f(code):\n    os._exit(code)\n"
    codes = list(range(1, 25))
    outcomes = await asyncio.gather(*(result_of(forking, source, code) for code in codes))
    assert outcomes == [Died(code) for code in codes]
