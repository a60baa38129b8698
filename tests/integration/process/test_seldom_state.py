"""What functions seldom change in their process is put back, or the process given up; instances bury their orphans."""

import json
import os
import re
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

ADDRESS = re.compile(" at 0x[0-9a-f]+")
LOOK = """
import decimal, locale, os, resource, signal, sys, threading, time, warnings
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
        [signal.getitimer(timer)[1] for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
        [sys.getswitchinterval(), time.tzname, sys.argv, repr(sys.meta_path), repr(sys.path_hooks)],
        [decimal.getcontext().prec, decimal.getcontext().rounding],
        [sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0), os.getresuid(), os.stat("/").st_ino],
    ]
"""
CHANGES = {
    "a soft limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (99, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
    "a soft limit, by prlimit": "resource.prlimit(0, resource.RLIMIT_STACK, (2**20, resource.RLIM_INFINITY))",
    "the locale": "locale.setlocale(locale.LC_ALL, 'C' if locale.setlocale(locale.LC_ALL) != 'C' else 'C.UTF-8')",
    "a part of the locale": "locale.setlocale(locale.LC_NUMERIC, 'C.UTF-8')",
    "the hooks": "sys.excepthook = sys.unraisablehook = sys.displayhook = threading.excepthook = print",
    "the filters of warnings": "warnings.simplefilter('error'); warnings.showwarning = print",
    "timers": "[signal.setitimer(timer, 9, 9) for timer in (0, 1, 2)]",
    "how often threads take turns": "sys.setswitchinterval(5)",
    "the time zone": "os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
    "the arguments": "sys.argv[:] = ['mine']",
    "how modules are found": "sys.meta_path.clear(); sys.path_hooks.clear()",
    "how decimals are rounded": "decimal.getcontext().prec = 2; decimal.setcontext(decimal.ExtendedContext)",
    "handlers of signals": "[signal.signal(n, print) for n in (1, 2, 3, 10, 12, 13, 14, 15, 17, 26, 27)]",
}
FOR_GOOD = {
    "the cores it runs on": "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    "its priority": "os.nice(3)",
    "a handler in C of the signal that cancels": "faulthandler.register(signal.SIGUSR1)",
    "an audit hook": "sys.addaudithook(lambda *_: None)",
    "a thread that threading does not know": "_thread.start_new_thread(time.sleep, (60,))",
    "its user": "os.seteuid(65534)",
    "its root": "os.chroot('/tmp')",
}
NEEDS_ROOT = {"its user", "its root"}
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
    found: list[Any] = json.loads(ADDRESS.sub("", str(bytes(outcome.value), "utf-8")))
    return found


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_it_does_not_reach_the_next_function(forking: Supervisor, change: str) -> None:
    before = await seen(forking)
    names = "decimal, locale, os, resource, signal, sys, threading, time, warnings"
    source = f"import {names}\ndef f():\n    {change}\n"
    outcome = await result_of(forking, source)
    assert isinstance(outcome, Returned), outcome
    after = await seen(forking)
    assert after[1:] == before[1:]
    assert after[0] == before[0]  # put back, not replaced


@pytest.mark.parametrize("what", FOR_GOOD)
async def test_what_cannot_be_put_back_costs_the_process_and_not_the_next_function(
    forking: Supervisor, what: str
) -> None:
    if what in NEEDS_ROOT and os.geteuid() != 0:
        pytest.skip("only root may")
    before = await seen(forking)
    source = f"import _thread, faulthandler, os, signal, sys, time\ndef f():\n    {FOR_GOOD[what]}\n"
    outcome = await result_of(forking, source)
    assert isinstance(outcome, Returned), outcome
    after = await seen(forking)
    assert after[1:] == before[1:]
    assert after[0] != before[0]


async def test_a_timer_of_a_function_does_not_kill_the_next(forking: Supervisor) -> None:
    body = "signal.setitimer(signal.ITIMER_PROF, 0.02); faulthandler.dump_traceback_later(0.02, exit=True)"
    assert isinstance(await result_of(forking, f"import faulthandler, signal\ndef f():\n    {body}\n"), Returned)
    busy = "import time\ndef f():\n    end = time.process_time() + 0.1\n    while time.process_time() < end: pass\n"
    assert isinstance(await result_of(forking, busy), Returned)


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
