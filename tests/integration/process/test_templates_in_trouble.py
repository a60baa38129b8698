"""Imports that exit, crash or hang, and launches that nobody waits for: a template and its children outlive them."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from flashtrial.process.child import Child
from flashtrial.process.environment import BASE, Environment
from flashtrial.process.outcome import Died, Raised, Returned
from flashtrial.process.output import OutputBuffer
from flashtrial.process.supervisor import Supervisor
from testkit.calls import FINE, json_call, open_descriptors, result_of, works
from testkit.waiting import wait_until_async

BAD_IMPORTS = {
    "sys.exit": "import sys\nsys.exit(3)\n",
    "os._exit": "import os\nos._exit(3)\n",
    "kill": "import os\nos.kill(os.getpid(), 9)\n",
    "keyboard interrupt": "raise KeyboardInterrupt\n",
}
COUNTER = """
class C:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return self.n
"""


async def _instance(supervisor: Supervisor, environment: Environment) -> Child:
    child = await supervisor.new_child(environment, json_call(COUNTER), holds_instance=True)
    made = json_call(COUNTER, "C", method="add", construct=True)
    assert await child.call(made, OutputBuffer()) == Returned(b"1")
    return child


@pytest.mark.parametrize("text", BAD_IMPORTS.values(), ids=BAD_IMPORTS.keys())
async def test_an_import_that_ends_its_process_ends_no_instance(forking: Supervisor, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad_import.py").write_text(text)
    environment = Environment("bad", (tmp_path,))
    child = await _instance(forking, environment)
    source = "def f():\n    import bad_import\n"
    assert isinstance(await result_of(forking, source, environment=environment), Raised | Died)
    assert await child.call(json_call(COUNTER, "C", method="add"), OutputBuffer()) == Returned(b"2")
    assert await works(forking, environment)


async def test_a_source_that_broke_its_template_breaks_no_second_one(forking: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "bad_import.py").write_text("import os\nos._exit(3)\n")
    environment = Environment("bad", (tmp_path,))
    source = "def f():\n    import bad_import\n"
    assert await result_of(forking, source, environment=environment) == Died(3)  # nothing lived from it yet
    child = await _instance(forking, environment)
    assert await result_of(forking, source, environment=environment) == Died(3)
    assert await child.call(json_call(COUNTER, "C", method="add"), OutputBuffer()) == Returned(b"2")


async def test_a_template_that_may_not_fork_spawns_and_keeps_its_children(forking: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "no_fork.py").write_text(
        "import os\nfork = os.fork\ndef refuse():\n    raise BlockingIOError(11, 'no more processes')\n"
        "def install():\n    os.fork = refuse\n"
    )
    (tmp_path / "then_no_fork.py").write_text("import no_fork\nno_fork.install()\n")
    environment = Environment("limit", (tmp_path,))
    child = await _instance(forking, environment)
    source = "import then_no_fork\ndef f():\n    import os\n    return os.getppid()\n"
    for _ in range(2):
        assert isinstance(await result_of(forking, source, environment=environment), Returned)
        assert child.takes_calls


async def test_launches_that_are_cancelled_leave_neither_descriptors_nor_children(forking: Supervisor) -> None:
    child = await forking.new_child(BASE, json_call(FINE), holds_instance=False)
    before = open_descriptors()
    for turns in range(60):
        launch = asyncio.create_task(forking.new_child(BASE, json_call(FINE), holds_instance=False))
        for _ in range(turns % 8):
            await asyncio.sleep(0.0003)
        launch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await forking.end(await launch)
    await wait_until_async(lambda: open_descriptors() <= before, 5, "the descriptors to be closed")
    template = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()[1]
    children = Path(f"/proc/{template}/task/{template}/children")
    await wait_until_async(lambda: children.read_text().split() == [str(child.process.pid)], 5, "the children to end")


async def test_a_launch_that_is_cancelled_while_its_interpreter_starts_leaves_nothing(supervisor: Supervisor) -> None:
    assert await works(supervisor)
    before = open_descriptors()
    launches = [
        asyncio.create_task(supervisor.new_child(BASE, json_call(FINE), holds_instance=False)) for _ in range(3)
    ]
    await asyncio.sleep(0.02)
    for launch in launches:
        launch.cancel()
    for made in await asyncio.gather(*launches, return_exceptions=True):
        if isinstance(made, Child):
            await supervisor.end(made)
    await wait_until_async(lambda: open_descriptors() <= before, 5, "the descriptors to be closed")
