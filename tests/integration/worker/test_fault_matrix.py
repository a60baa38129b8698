"""Group A of the fault matrix: whatever user code does to its process, the worker and the next call never mind."""

import asyncio
import base64
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from flashtrial.core.clock import SystemClock
from flashtrial.process.launch import StartMethod
from flashtrial.worker.entrypoint import Worker
from flashtrial.worker.sync_keeper import SyncKeeper
from testkit.jobs import function_job, method_job, pickled
from testkit.misbehaviour import ODD
from testkit.waiting import wait_until_async

FINE = "def f():\n    return 'fine'\n"


async def works(worker: Worker) -> bool:
    return (await worker.handle(function_job(FINE))).get("json_result") == "fine"


def processes_of_session(leader: int) -> list[int]:
    """Living processes of the session that `leader` leads; zombies do not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z" and int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize(("source", "succeeds"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
async def test_odd_code_gets_an_answer_and_the_next_call_works(
    forking_worker: Worker, source: str, succeeds: bool
) -> None:
    answer = await forking_worker.handle(function_job(source))
    if succeeds:
        assert answer["success"], answer
    assert isinstance(answer["stdout"], str)
    assert await works(forking_worker)


@pytest.mark.parametrize(
    "value",
    ["lambda: 1", "__import__('threading').Lock()", "f", "(n for n in [1])"],
    ids=["lambda", "lock", "itself", "gen"],
)
async def test_what_a_function_returns_is_carried_or_refused_by_kind(forking_worker: Worker, value: str) -> None:
    job = function_job(f"def f():\n    return {value}\n")
    job["input"]["serialization_format"] = "cloudpickle"
    answer = await forking_worker.handle(job)
    assert answer["success"] or answer["error_kind"] == "result"
    assert await works(forking_worker)


async def test_a_pickle_that_explodes_on_load_is_a_bad_request(forking_worker: Worker) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os._exit, (5,))

    class Faulty:
        def __reduce__(self) -> tuple[Any, ...]:
            return (int, ("no number",))

    job = function_job("def f(x): pass\n", "f", pickled(Faulty()))
    job["input"]["serialization_format"] = "cloudpickle"
    answer = await forking_worker.handle(job)
    assert answer["error_kind"] == "request"
    assert "This worker has Python" in answer["error"]

    job["input"]["args"] = [pickled(Bomb())]
    assert (await forking_worker.handle(job))["error_kind"] == "user_code"
    assert await works(forking_worker)


async def test_what_a_function_changes_in_its_process_does_not_reach_the_next_one(worker: Worker) -> None:
    change = """
import logging, os, sys, tempfile
def f():
    os.environ["LEFT_BEHIND"] = "1"
    os.environ.pop("PATH")
    os.chdir(tempfile.gettempdir())
    sys.path.insert(0, "/left/behind")
    os.umask(0o777)
    sys.setrecursionlimit(5000)
    logging.getLogger().setLevel("CRITICAL")
    logging.disable(logging.CRITICAL)
    return os.getpid()
"""
    look = """
import logging, os, sys
def f():
    umask = os.umask(0)
    root = logging.getLogger()
    return [
        os.environ.get("LEFT_BEHIND"), "PATH" in os.environ, os.getcwd(), "/left/behind" in sys.path, umask,
        sys.getrecursionlimit(), root.level, root.manager.disable, len(root.handlers), os.getpid(),
    ]
"""
    before = (await worker.handle(function_job(look)))["json_result"]
    changed = (await worker.handle(function_job(change)))["json_result"]
    after = (await worker.handle(function_job(look)))["json_result"]
    assert after == before
    assert changed == before[-1] == after[-1]  # one process served all three: put back, not replaced


async def test_a_hundred_children_draw_a_hundred_different_random_numbers(forking_worker: Worker) -> None:
    source = """
import os, random, uuid
def f(start):
    import time
    while time.time() < start:
        time.sleep(0.01)
    return [os.getpid(), random.random(), str(uuid.uuid4())]
"""
    numpy_source = source.replace("random.random()", "float(__import__('numpy').random.random())")
    import time

    start = time.time() + 1.5
    sources = [source] * 20 + [numpy_source] * 20
    answers = await asyncio.gather(*(forking_worker.handle(function_job(text, "f", start)) for text in sources))
    for place in range(3):
        assert len({answer["json_result"][place] for answer in answers}) == len(sources)


async def test_a_call_over_its_time_limit_is_ended_and_its_output_kept(worker: Worker) -> None:
    source = "def f():\n    print('so far')\n    while True:\n        pass\n"
    answer = await worker.handle(function_job(source, timeout_s=0.3))
    assert (answer["success"], answer["error_kind"], answer["stdout"]) == (False, "timeout", "so far\n")
    assert "0.3 s" in answer["error"]
    assert await works(worker)


async def test_code_that_is_asked_to_stop_may_clean_up(worker: Worker) -> None:
    source = """
import time
def f():
    try:
        time.sleep(60)
    finally:
        print("cleaned up")
"""
    answer = await worker.handle(function_job(source, timeout_s=0.3))
    assert (answer["error_kind"], answer["stdout"]) == ("timeout", "cleaned up\n")


async def test_an_instance_that_stops_when_asked_keeps_its_state(worker: Worker) -> None:
    source = """
import time
class Patient:
    def __init__(self):
        self.calls = 0
    def count(self):
        self.calls += 1
        return self.calls
    def sleep(self):
        self.calls += 1
        time.sleep(60)
"""
    await worker.handle(method_job(source, "Patient", "p", "count"))
    answer = await worker.handle(method_job(source, "Patient", "p", "sleep", timeout_s=0.3))
    assert answer["error_kind"] == "timeout"
    assert (await worker.handle(method_job(source, "Patient", "p", "count")))["json_result"] == 3


async def test_a_daemon_that_left_the_session_ends_with_its_child(forking_worker: Worker, tmp_path: Path) -> None:
    pid_file = tmp_path / "daemon.pid"
    source = """
import os, time
def f(path):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(path + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.rename(path + ".new", path)
            time.sleep(99)
        os._exit(0)
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"
"""
    assert (await forking_worker.handle(function_job(source, "f", str(pid_file))))["json_result"] == "done"
    daemon = Path("/proc") / pid_file.read_text()
    await wait_until_async(lambda: not daemon.exists(), 5, "the daemon to be gone")
    assert await works(forking_worker)


async def test_no_process_of_a_cancelled_tree_survives(worker: Worker, tmp_path: Path) -> None:
    source = """
import os, signal
def f(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.system("trap '' TERM; sleep 99 & sleep 99 & echo $$ > " + path + " && mv " + path + " " + path + ".done; wait")
    while True:
        pass
"""
    mark = tmp_path / "tree"
    call = asyncio.create_task(worker.handle(function_job(source, "f", str(mark))))
    done = Path(f"{mark}.done")
    await wait_until_async(done.exists, 10, "the tree to stand")
    session = os.getsid(int(done.read_text()))
    assert len(processes_of_session(session)) >= 4
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await wait_until_async(lambda: not processes_of_session(session), 5, "the whole session to be gone")
    assert await works(worker)


async def test_a_sibling_that_is_killed_loses_its_own_call_only(forking_worker: Worker, tmp_path: Path) -> None:
    victim = """
import os, time
def f(path):
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    time.sleep(60)
"""
    pid_file = tmp_path / "victim.pid"
    lost = asyncio.create_task(forking_worker.handle(function_job(victim, "f", str(pid_file))))
    await wait_until_async(pid_file.exists, 10, "the victim to run")
    killer = "import os, signal\ndef f(pid):\n    os.kill(pid, signal.SIGKILL)\n    return 'killed'\n"
    answer = await forking_worker.handle(function_job(killer, "f", int(pid_file.read_text())))
    assert answer["json_result"] == "killed"
    assert (await lost)["error_kind"] == "worker_lost"
    assert await works(forking_worker)


async def test_a_call_over_its_memory_limit_is_ended_with_the_figures(
    flashtrial_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flashtrial.process.child import CallLimits
    from flashtrial.process.environment import BASE
    from flashtrial.process.launch import Launcher
    from flashtrial.process.outcome import OverMemory
    from flashtrial.process.output import OutputBuffer
    from flashtrial.process.supervisor import Supervisor
    from flashtrial.protocol.execution import FunctionRequest
    from flashtrial.worker.base_executor import call_spec

    supervisor = Supervisor(Launcher(dict(os.environ), StartMethod.FORK))
    source = "def f():\n    hoard = bytearray(400 * 1024 * 1024)\n    while True:\n        pass\n"
    spec = call_spec(FunctionRequest(function_name="f", function_code=source))
    outcome = await supervisor.run_function(BASE, spec, OutputBuffer(), CallLimits(memory_bytes=200 * 1024 * 1024))
    assert isinstance(outcome, OverMemory)
    assert outcome.used_bytes > outcome.limit_bytes
    await supervisor.close()


HOLDER = """
class Holder:
    def __init__(self, size_mib):
        self.hoard = bytearray(b"x") * (size_mib * 1024 * 1024)
    def pid(self):
        import os
        return os.getpid()
"""


async def test_an_evicted_instance_frees_its_memory_and_is_told_as_lost(flashtrial_home: Path) -> None:
    from flashtrial.process.environment import BASE
    from flashtrial.process.launch import Launcher
    from flashtrial.process.memory import resident_bytes
    from flashtrial.process.outcome import Failure
    from flashtrial.process.output import OutputBuffer
    from flashtrial.process.supervisor import Supervisor
    from flashtrial.protocol.execution import FunctionRequest
    from flashtrial.worker.class_executor import ClassExecutor
    from flashtrial.worker.instances import InstanceLimits
    from flashtrial.worker.ledger import MemoryLedger

    supervisor = Supervisor(Launcher(dict(os.environ), StartMethod.FORK))
    limits = InstanceLimits(max_count=1, idle_s=None)
    executor = ClassExecutor(supervisor, MemoryLedger("w"), "w", SystemClock(), limits=limits)

    async def pid(instance_id: str) -> Any:
        job = method_job(HOLDER, "Holder", instance_id, "pid", constructor_args=[150])
        execution = await executor.execute(FunctionRequest.model_validate(job["input"]), BASE, OutputBuffer())
        if isinstance(execution.result, Failure):
            return execution.result
        assert execution.instance_info is not None
        return execution

    await pid("first")
    first = next(iter(supervisor._living)).process.pid
    held = resident_bytes(first)
    assert held is not None
    assert held > 150 * 1024 * 1024
    await pid("second")
    assert resident_bytes(first) is None
    lost = await pid("first")
    assert "evicted to make room" in lost.message
    await executor.close()
    await supervisor.close()


async def test_code_that_kills_its_parent_takes_no_call_after_it_along(forking_worker: Worker) -> None:
    source = "import os, signal\ndef f(number):\n    os.kill(os.getppid(), number)\n    return os.getppid()\n"
    parent = (await forking_worker.handle(function_job(source, "f", 0)))["json_result"]
    await forking_worker.handle(function_job(source, "f", int(signal.SIGKILL)))
    zombie_or_gone = Path(f"/proc/{parent}/cmdline")
    await wait_until_async(
        lambda: not zombie_or_gone.exists() or zombie_or_gone.read_bytes() == b"", 5, "the parent to die"
    )
    assert await works(forking_worker)


async def test_the_next_call_works_after_the_template_was_killed(forking_worker: Worker) -> None:
    assert await works(forking_worker)
    parent = "import os\ndef f():\n    return os.getppid()\n"
    template = (await forking_worker.handle(function_job(parent)))["json_result"]
    counter = "import os\nclass C:\n    def one(self):\n        return os.getpid()\n"
    held = Path("/proc") / str((await forking_worker.handle(method_job(counter, "C", "c", "one")))["json_result"])
    os.kill(template, signal.SIGKILL)
    await wait_until_async(lambda: not held.exists(), 5, "the instance to die with its template")
    lost = await forking_worker.handle(method_job(counter, "C", "c", "one"))
    assert lost["error_kind"] == "worker_lost"
    assert await works(forking_worker)
    assert (await forking_worker.handle(function_job(parent)))["json_result"] != template


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("import sys; sys.exit(2)", "user_code", "SystemExit: 2"),
        ("import os; os._exit(0)", "user_code", "exited with code 0"),
        ("import os; os._exit(1)", "user_code", "exited with code 1"),
        ("import ctypes; ctypes.string_at(0)", "user_code", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "worker_lost", "SIGKILL"),
        ("raise ValueError('no')", "user_code", "ValueError: no"),
        ("while True: pass", "timeout", "its time limit"),
    ],
)
async def test_a_constructor_that_ends_badly_is_answered_in_kind_and_may_be_tried_again(
    forking_worker: Worker, body: str, kind: str, words: str
) -> None:
    made = "    def __init__(self, bad):\n        if bad:\n            {}\n"
    source = f"class C:\n{made}    def ok(self):\n        return 1\n"

    def job(bad: bool) -> dict[str, Any]:
        more = {"timeout_s": 0.3} if kind == "timeout" and bad else {}
        return method_job(source.format(body), "C", "c", "ok", constructor_args=[bad], **more)

    answer = await forking_worker.handle(job(True))
    assert answer["error_kind"] == kind, answer
    assert words in answer["error"]
    assert (await forking_worker.handle(job(False)))["json_result"] == 1  # it had never come to be
    assert await works(forking_worker)


@pytest.mark.parametrize(
    "pickle",
    [b"cnumpy._core_of_another_major.multiarray\n_reconstruct\n.", b"\x80\x63.", b"cno_such_module\nthing\n."],
    ids=["another numpy", "a pickle protocol of a later Python", "a module that is not here"],
)
async def test_arguments_of_another_python_or_numpy_are_a_bad_request_that_names_the_versions_here(
    forking_worker: Worker, pickle: bytes
) -> None:
    job = function_job("def f(x): pass\n", "f", base64.b64encode(pickle).decode())
    job["input"]["serialization_format"] = "cloudpickle"
    answer = await forking_worker.handle(job)
    assert answer["error_kind"] == "request", answer
    assert f"This worker has Python {sys.version_info.major}.{sys.version_info.minor}" in answer["error"]
    assert await works(forking_worker)


async def test_a_sync_process_that_user_code_kills_is_started_again(
    forking_worker: Worker, flashtrial_home: Path
) -> None:
    outbox = flashtrial_home / "outbox"
    keeper = SyncKeeper(outbox)
    keeper.start()

    def syncing() -> set[int]:
        found = (one for one in psutil.process_iter(["cmdline"]) if str(outbox) in (one.info["cmdline"] or ()))
        return {one.pid for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE}

    source = "import flashtrial\nclass C:\n    def open(self):\n        flashtrial.init().log({'loss': 1.0})\n"
    try:
        assert (await forking_worker.handle(method_job(source, "C", "c", "open")))["success"]
        await wait_until_async(syncing, 20, "the sync process")
        first = syncing().pop()
        kills = "import os\ndef f(pid):\n    os.kill(pid, 9)\n"
        assert (await forking_worker.handle(function_job(kills, "f", first)))["success"]
        await wait_until_async(lambda: syncing() - {first}, 20, "another sync process")
        assert await works(forking_worker)
    finally:
        keeper.stop()
        for left in syncing():
            os.kill(left, signal.SIGKILL)
