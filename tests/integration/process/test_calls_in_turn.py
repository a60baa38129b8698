"""What one call leaves in its process does not reach the next one; what it forks off does not answer for it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flashtrial.process.child import CallLimits
from flashtrial.process.environment import BASE
from flashtrial.process.outcome import Died, Raised, Returned, TimedOut
from flashtrial.process.output import OutputBuffer
from flashtrial.process.supervisor import Supervisor
from testkit.calls import json_call, result_of

STREAMS = {
    "detached": "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-8')\n    print('x')",
    "a list": "sys.stdout = sys.stderr = []",
    "deleted": "del sys.stdout, sys.stderr",
    "closed": "sys.stdout.close(); sys.stderr.close()",
}


@pytest.mark.parametrize("change", STREAMS.values(), ids=STREAMS.keys())
async def test_streams_that_a_call_spoiled_are_good_again_in_the_next(forking: Supervisor, change: str) -> None:
    source = f"import io, os, sys\ndef f():\n    {change}\n    return os.getpid()\n"
    first = await result_of(forking, source)
    output = OutputBuffer()
    look = "import os, sys\ndef f():\n    print('heard')\n    print('too', file=sys.stderr)\n    return os.getpid()\n"
    second = await forking.run_function(BASE, json_call(look), output)
    assert first == second  # the same process served both
    assert output.text() == "heard\ntoo\n"


FORKS = {
    "returns first": "pid = os.fork()\n    if pid == 0:\n        return 'copy'\n    os.waitpid(pid, 0)",
    "raises": "pid = os.fork()\n    if pid == 0:\n        raise ValueError('copy')\n    os.waitpid(pid, 0)",
    "exits": "pid = os.fork()\n    if pid == 0:\n        sys.exit(0)\n    os.waitpid(pid, 0)",
    "yields": "pid = os.fork()\n    if pid == 0:\n        raise KeyboardInterrupt\n    os.waitpid(pid, 0)",
}


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS.keys())
async def test_only_the_original_answers_for_code_that_forks_itself(forking: Supervisor, fork: str) -> None:
    source = f"import os, sys\ndef f():\n    {fork}\n    return 'original'\n"
    for _ in range(3):
        assert await result_of(forking, source) == Returned(b'"original"')


async def test_timers_profilers_and_the_collector_are_as_the_next_call_expects(supervisor: Supervisor) -> None:
    change = """
import gc, os, signal, socket, sys
def f():
    gc.disable()
    sys.setprofile(lambda *event: None)
    sys.settrace(lambda *event: None)
    signal.signal(signal.SIGALRM, lambda *event: None)
    signal.setitimer(signal.ITIMER_REAL, 60)
    socket.setdefaulttimeout(0.001)
    return os.getpid()
"""
    look = """
import gc, os, signal, socket, sys
def f():
    found = [gc.isenabled(), sys.getprofile() is None, sys.gettrace() is None]
    handler = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    return [found, handler, signal.getitimer(signal.ITIMER_REAL)[0], socket.getdefaulttimeout(), os.getpid()]
"""
    before = await result_of(supervisor, look)
    changed = await result_of(supervisor, change)
    assert isinstance(changed, Returned)
    assert await result_of(supervisor, look) == before


async def test_an_asynchronous_method_that_is_ended_cleans_up_and_does_not_go_on_later(
    supervisor: Supervisor,
) -> None:
    source = """
import asyncio
class C:
    def __init__(self):
        self.story = []
    async def slow(self):
        try:
            await asyncio.sleep(60)
        finally:
            self.story.append("cleaned up")
    async def look(self):
        await asyncio.sleep(0.01)
        return [*self.story, len(asyncio.all_tasks())]
"""
    child = await supervisor.new_child(BASE, json_call(source), holds_instance=True)
    await child.call(json_call(source, "C", method="look", construct=True), OutputBuffer())
    timed = await child.call(json_call(source, "C", method="slow"), OutputBuffer(), CallLimits(timeout_s=0.3))
    assert timed == TimedOut(0.3)
    assert await child.call(json_call(source, "C", method="look"), OutputBuffer()) == Returned(b'["cleaned up", 1]')


async def test_a_message_of_fifty_megabytes_is_cut_in_its_middle(forking: Supervisor) -> None:
    outcome = await result_of(forking, "def f():\n    raise ValueError('begin' + 'x' * 50_000_000 + 'end')\n")
    assert isinstance(outcome, Raised)
    assert outcome.message.startswith("ValueError: beginx")
    assert "characters cut" in outcome.message
    assert len(outcome.message) < 2_000_000


async def test_versions_of_a_module_alternate_and_leave_nothing(forking: Supervisor) -> None:
    source = """
import sys, tempfile, os, linecache
from helper import data
def f():
    traces = [name for name in linecache.cache if name.startswith("<flashtrial")]
    return [data.VERSION, len(sys.path_importer_cache), len(traces) <= 64]
"""
    sizes = set()
    for version in range(100):
        modules = {"helper/__init__.py": "", "helper/data.py": f"VERSION = {version}\n"}
        outcome = await result_of(forking, f"{source}# {version}\n", modules=modules)
        value = _value(outcome)
        assert value[0] == version
        assert value[2]
        sizes.add(value[1])
    assert len(sizes) == 1


async def test_modules_of_a_call_that_was_killed_or_of_an_instance_are_not_left_on_disk(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    modules = {"helper.py": "X = 1\n"}
    dies = "import helper, os, pathlib\ndef f(path):\n    pathlib.Path(path).write_text(helper.__file__)\n"
    dies += "    os._exit(1)\n"
    assert await result_of(supervisor, dies, str(tmp_path / "where"), modules=modules) == Died(1)
    assert not Path((tmp_path / "where").read_text()).exists()
    source = "import helper\nclass C:\n    def x(self):\n        return helper.X\n"
    source += "    def where(self):\n        return helper.__file__\n"
    child = await supervisor.new_child(BASE, json_call(source), holds_instance=True)
    made = json_call(source, "C", method="x", construct=True, modules=modules)
    assert await child.call(made, OutputBuffer()) == Returned(b"1")
    assert await child.call(json_call(source, "C", method="x"), OutputBuffer()) == Returned(b"1")
    directory = Path(_value(await child.call(json_call(source, "C", method="where"), OutputBuffer())))
    assert directory.exists()
    await supervisor.end(child)
    assert not directory.exists()


class _Slow:
    """A sink of streamed values."""

    streams = True

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def output(self, data: bytes) -> None: ...

    def touched(self, run_id: str) -> None: ...

    def secrets(self, texts: Sequence[str]) -> None: ...

    def yielded(self, value: bytes) -> None:
        self.values.append(value)


async def test_a_stream_of_large_values_arrives_in_order_and_ends_when_it_is_cancelled(forking: Supervisor) -> None:
    source = "def f(n):\n    for place in range(n):\n        yield [place, 'x' * (place % 7) * 40_000]\n"
    sink = _Slow()
    outcome = await forking.run_function(BASE, json_call(source, "f", 100, stream=True), sink)
    assert [_parsed(value)[0] for value in sink.values] == list(range(100))
    assert len(_value(outcome)) == 100
    endless = _Slow()
    call = asyncio.create_task(
        forking.run_function(BASE, json_call(source, "f", 10**9, stream=True), endless, CallLimits(timeout_s=0.5))
    )
    assert await call == TimedOut(0.5)
    assert endless.values


def _parsed(value: bytes | memoryview) -> Any:
    import json

    return json.loads(bytes(value))


def _value(outcome: object) -> Any:
    assert isinstance(outcome, Returned), outcome
    return _parsed(outcome.value)


# Forks where a signal handler may: when our code is about to write. The copy goes on in the middle of it.
FORKS_IN_A_FRAME = """
import os, sys
forks = 0
def when_something_is_sent(frame, event, what):
    global forks
    if event == "c_call" and what.__name__ == "send":
        sys.setprofile(None)
        forks += 1
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
def f():
    yield "before"
    sys.setprofile(when_something_is_sent)
    yield "in the middle"
    yield forks
"""


async def test_a_copy_that_is_forked_in_the_middle_of_a_frame_says_nothing(forking: Supervisor) -> None:
    sink = _Slow()
    outcome = await forking.run_function(BASE, json_call(FORKS_IN_A_FRAME, stream=True), sink)
    assert _value(outcome) == ["before", "in the middle", 1]
    assert [_parsed(value) for value in sink.values] == ["before", "in the middle", 1]
