"""What functions seldom change in their process is put back, or the process given up; instances bury their orphans."""

import json
from pathlib import Path
from typing import Any

import pytest

from flashtrial.process.environment import BASE
from flashtrial.process.outcome import Returned
from flashtrial.process.output import OutputBuffer
from flashtrial.process.supervisor import Supervisor
from testkit.calls import json_call, result_of
from testkit.waiting import wait_until_async

pytestmark = pytest.mark.integration

LOOK = """
import locale, os, resource, signal, sys, threading, warnings
def f():
    numbers = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
    return [
        os.getpid(),
        [resource.getrlimit(number) for number in numbers],
        locale.setlocale(locale.LC_ALL),
        [repr(hook) for hook in (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook)],
        repr(warnings.showwarning),
        [repr(entry) for entry in warnings.filters],
        [repr(signal.getsignal(number)) for number in (1, 2, 3, 10, 12, 13, 14, 15, 17, 26, 27)],
    ]
"""
CHANGES = {
    "a soft limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (99, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
    "a soft limit, by prlimit": "resource.prlimit(0, resource.RLIMIT_STACK, (2**20, resource.RLIM_INFINITY))",
    "the locale": "locale.setlocale(locale.LC_ALL, 'C' if locale.setlocale(locale.LC_ALL) != 'C' else 'C.UTF-8')",
    "a part of the locale": "locale.setlocale(locale.LC_NUMERIC, 'C.UTF-8')",
    "the hooks": "sys.excepthook = sys.unraisablehook = sys.displayhook = threading.excepthook = print",
    "the filters of warnings": "warnings.simplefilter('error'); warnings.showwarning = print",
    "handlers of signals": "[signal.signal(n, print) for n in (1, 2, 3, 10, 12, 13, 14, 15, 17, 26, 27)]",
}
ORPHANS = """
import os, subprocess, sys
class C:
    def leave_daemon(self):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork() == 0:
                pass
            os._exit(0)
        os.waitpid(pid, 0)
    def start(self):
        self.own = subprocess.Popen(["sh", "-c", "exit 3"])
        self.leader = subprocess.Popen(["sh", "-c", "exit 4"], start_new_session=True)
    def wait(self):
        return [self.own.wait(), self.leader.wait()]
    def pid(self):
        return os.getpid()
"""


async def seen(supervisor: Supervisor) -> list[Any]:
    outcome = await result_of(supervisor, LOOK)
    assert isinstance(outcome, Returned), outcome
    found: list[Any] = json.loads(bytes(outcome.value))
    return found


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_it_does_not_reach_the_next_function(forking: Supervisor, change: str) -> None:
    before = await seen(forking)
    source = f"import locale, resource, signal, sys, threading, warnings\ndef f():\n    {change}\n"
    outcome = await result_of(forking, source)
    assert isinstance(outcome, Returned), outcome
    after = await seen(forking)
    assert after[1:] == before[1:]
    assert after[0] == before[0]  # put back, not replaced


async def test_a_hard_limit_that_cannot_be_raised_again_costs_the_process_and_not_the_next_function(
    forking: Supervisor,
) -> None:
    before = await seen(forking)
    source = "import resource\ndef f():\n    resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))\n"
    assert isinstance(await result_of(forking, source), Returned)
    assert (await seen(forking))[1] == before[1]


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def zombies_of(pid: int) -> list[int]:
    found = []
    for child in children_of(pid):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        found += [int(child)] if state == "Z" else []
    return found


async def test_an_instance_buries_its_orphans_and_leaves_its_own_children_to_the_code(forking: Supervisor) -> None:
    made = json_call(ORPHANS, "C", method="start", construct=True)
    child = await forking.new_child(BASE, made, holds_instance=True)

    async def call(method: str) -> Any:
        outcome = await child.call(json_call(ORPHANS, "C", method=method), OutputBuffer())
        assert isinstance(outcome, Returned), outcome
        return json.loads(bytes(outcome.value))

    assert isinstance(await child.call(made, OutputBuffer()), Returned)
    pid = await call("pid")
    own = 2
    await wait_until_async(lambda: len(zombies_of(pid)) == own, 10, "its own children to end")
    for _ in range(3):
        await call("leave_daemon")
    await wait_until_async(lambda: len(children_of(pid)) == len(zombies_of(pid)), 10, "the daemons to end")
    await call("pid")
    assert len(zombies_of(pid)) == own
    assert await call("wait") == [3, 4]
    await forking.end(child)
