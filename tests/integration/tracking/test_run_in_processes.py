"""A run in a trainer's life: starts, forks, spawns, signals, full disks, and every way to end."""

import json
import socket
from pathlib import Path

import pytest

from flashtrial.tracking.journal.outbox import lock_path
from flashtrial.tracking.journal.sync_start import ensure_sync_process, hold_outbox_open
from testkit import wait_until
from testkit.tracking_server import TrackingClient

from .conftest import Lab, StandIn

pytestmark = pytest.mark.integration

NO_SYNC = {"FLASHTRIAL_WORKER_ID": "worker_1"}  # inside a worker nothing is started


def test_init_log_and_finish_come_back_when_the_server_never_answers(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        lab.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ended = lab.run("import flashtrial\nr = flashtrial.init()\nr.log({'x': 1.0})\nprint(r.finish(timeout_s=0.1))")
        assert ended.status == 0, ended
        assert "0 of 3 records sent; 3 wait on this disk" in ended.output
        assert ended.output in ended.errors, "a script that prints no report is told as well"


def test_who_interrupts_the_wait_of_finish_is_not_made_to_wait_again_at_the_exit(lab: Lab) -> None:
    script = """
import flashtrial, os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started the tests in the background
with flashtrial.init(settings={"finish_timeout_s": 3600}) as run:
    def interrupt():
        while not run._is_finished: time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        lab.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with lab.start(script) as trainer:
            try:
                _, errors = trainer.communicate(timeout=50)
            finally:
                trainer.kill()
    assert "KeyboardInterrupt" in errors
    assert "2 wait on this disk" in errors


def test_finish_says_that_all_was_sent_when_it_was(lab: Lab, server: TrackingClient) -> None:
    ended = lab.run("import flashtrial\nr = flashtrial.init(project='p')\nr.log({'x': 1.0})\nprint(r.finish())")
    assert "3 of 3 records sent; http" in ended.output, ended
    [run] = server.get("/api/v1/runs").json()["runs"]
    assert (run["project"], run["status"], run["summary"]) == ("p", "finished", {"x": 1.0})


@pytest.mark.parametrize("in_the_way", ["logs", "logs/sync.log"])
def test_a_log_that_cannot_be_written_keeps_no_record_from_being_sent(
    lab: Lab, server: TrackingClient, in_the_way: str
) -> None:
    """As in a home that is read-only, with the outbox elsewhere."""
    path = lab.home / in_the_way
    path.parent.mkdir(parents=True)
    path.write_bytes(b"") if in_the_way == "logs" else path.mkdir()
    ended = lab.run("import flashtrial\nprint(flashtrial.init().finish())")
    assert "2 of 2 records sent" in ended.output, ended


def test_in_a_worker_finish_waits_for_nobody_and_nothing_is_started(lab: Lab, server: TrackingClient) -> None:
    script = "import flashtrial\nr = flashtrial.init()\nr.log({'x': 1.0})\nprint(r.finish())"
    ended = lab.run(script, FLASHTRIAL_WORKER_ID="worker_1", FLASHTRIAL_OUTBOX=str(lab.outbox))
    assert "3 records written; the worker's sync process delivers them; http" in ended.output, ended
    assert ended.errors == "", "nothing is wrong"
    assert not lock_path(lab.outbox).exists()
    lab.start_sync()
    lab.wait_until_synced()
    assert len(server.get("/api/v1/runs").json()["runs"]) == 1


def test_a_worker_can_hold_the_sync_process_open(lab: Lab) -> None:
    with StandIn() as stand_in:
        lab.url = stand_in.url
        with hold_outbox_open(lab.outbox):
            pid = lab.start_sync()
            wait_until(lambda: lock_path(lab.outbox).exists())
            worker = {"FLASHTRIAL_WORKER_ID": "w"}
            for count in (1, 2, 3):
                assert lab.run("import flashtrial\nwith flashtrial.init(): pass", **worker).status == 0
                wait_until(lambda wanted=2 * count: len(stand_in.backend.stored) == wanted)  # type: ignore[misc]
                assert [process.pid for process in lab.sync_processes()] == [pid]
            assert ensure_sync_process(lab.outbox, lab.environment()) is None
        lab.wait_until_synced()


def test_a_fork_logs_to_the_run_and_its_exit_does_not_end_it(lab: Lab) -> None:
    script = """
import flashtrial, os, sys
run = flashtrial.init(run_id="run_1", resume=False)
run.log({"parent": 1.0})
if os.fork() == 0:
    run.log({"child": 1.0})
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
run.log({"parent": 2.0})
"""
    ended = lab.run(script, **NO_SYNC)
    assert ended.status == 0, ended
    by_writer: dict[str, list[object]] = {}
    for record in lab.records():
        assert record.run_id == "run_1"
        told = record.body.get("values") or record.body["status"]
        by_writer.setdefault(record.writer_id, []).append(told)
    assert sorted(by_writer.values(), key=len) == [
        ["running", {"child": 1.0}],
        ["running", {"parent": 1.0}, {"parent": 2.0}, "finished"],
    ]
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in seqs_by_writer(lab).values())


def test_a_fork_while_threads_log_never_hangs(lab: Lab) -> None:
    script = """
import flashtrial, os, threading
run = flashtrial.init(run_id="run_1", resume=False)
stop = threading.Event()
def work():
    while not stop.is_set():
        run.log({"x": 1.0})
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(20):
    if (pid := os.fork()) == 0:
        run.log({"child": 1.0})
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
"""
    ended = lab.run(script, **NO_SYNC)
    assert ended.status == 0, ended
    assert sum("child" in record.body.get("values", {}) for record in lab.records()) == 20
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in seqs_by_writer(lab).values())


def test_a_fork_in_the_middle_of_a_look_at_a_lock_does_not_keep_it(lab: Lab) -> None:
    """A child of a trainer that held the sync lock shared would keep the sync process out for as long as it lives."""
    script = """
import fcntl, os, pathlib, threading
from flashtrial.tracking.journal.outbox import is_locked
path = pathlib.Path(os.environ["FLASHTRIAL_HOME"]); path.mkdir(exist_ok=True); path /= "lock"; path.touch()
stop = threading.Event()
def look():
    while not stop.is_set(): is_locked(path, shared=False)
threads = [threading.Thread(target=look) for _ in range(2)]
for thread in threads: thread.start()
end, hold = os.pipe()
for _ in range(150):
    if os.fork() == 0:
        os.close(hold)
        os.read(end, 1)
        os._exit(0)
stop.set()
for thread in threads: thread.join()
with path.open() as file:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.close(hold)
for _ in range(150): os.wait()
"""
    ended = lab.run(script)
    assert ended.status == 0, ended


def test_a_run_goes_into_a_spawned_process(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("""
import flashtrial, multiprocessing

def work(run, number):
    run.log({"child": float(number)})

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with flashtrial.init(run_id="run_1", resume=False) as run:
        processes = [context.Process(target=work, args=(run, number)) for number in range(2)]
        for process in processes: process.start()
        for process in processes: process.join()
        assert [process.exitcode for process in processes] == [0, 0]
""")
    ended = lab.run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", **NO_SYNC)
    assert ended.status == 0, ended
    records = lab.records()
    assert {record.run_id for record in records} == {"run_1"}
    assert sorted(record.body["values"]["child"] for record in records if record.kind == "metric") == [0.0, 1.0]
    assert [record.body["status"] for record in records if record.kind == "state"].count("finished") == 1


@pytest.mark.parametrize(
    ("ending", "status", "reason"),
    [
        ("", "finished", None),
        ("raise SystemExit(0)", "finished", None),
        ("import sys; sys.exit()", "finished", None),
        ("import sys; sys.exit(3)", "failed", "SystemExit: 3"),
        ("import sys; sys.exit('no data')", "failed", "SystemExit: no data"),
        ("exit(3)", "failed", "SystemExit: 3"),
        ("quit(code='no data')", "failed", "SystemExit: no data"),
        ("exit()", "finished", None),
        ("try: exit(3)\nexcept SystemExit: pass", "finished", None),
        ("import sys\ntry: sys.exit(3)\nfinally: print()", "failed", "SystemExit: 3"),
        ("import sys\ntry: sys.exit(3)\nexcept SystemExit: pass", "finished", None),
        ("import sys\ntry: sys.exit(3)\nexcept SystemExit as error: kept = error", "finished", None),
        (
            "import sys\ntry: sys.exit(3)\nexcept SystemExit: raise ValueError('bad') from None",
            "failed",
            "ValueError: bad",
        ),
        ("import asyncio, sys\nasync def main(): sys.exit(3)\nasyncio.run(main())", "failed", "SystemExit: 3"),
        ("import argparse; argparse.ArgumentParser().parse_args(['--x'])", "failed", "SystemExit: 2"),
        ("import sys, threading\nthreading.Thread(target=sys.exit, args=(3,)).start()", "finished", None),
        ("raise ValueError('bad')", "failed", "ValueError: bad"),
        ("raise KeyboardInterrupt", "interrupted", "KeyboardInterrupt"),
    ],
)
def test_the_end_of_the_program_is_the_end_of_its_run(lab: Lab, ending: str, status: str, reason: str | None) -> None:
    lab.run(f"import flashtrial\nflashtrial.init()\n{ending}", **NO_SYNC)
    last = lab.records()[-1].body
    said, _, where = last.get("reason", "").partition("\n")
    assert (last["status"], said or None) == (status, reason)
    assert bool(where) == ("Error: " in said), "only errors have a traceback"


@pytest.mark.parametrize(
    ("rank", "resume", "is_guest"), [("0", "None", False), ("1", "None", True), ("1", "True", False)]
)
def test_a_rank_above_zero_that_attaches_does_not_end_the_run(
    lab: Lab, server: TrackingClient, rank: str, resume: str, is_guest: bool
) -> None:
    script = f"""
import flashtrial
owner = flashtrial.init(run_id="run_1", resume=False)
with flashtrial.init(run_id="run_1", resume={resume}) as attached: attached.log({{"x": 1.0}})
owner.log({{"y": 1.0}})
import os; os._exit(0)
"""
    ended = lab.run(script, RANK=rank, WORLD_SIZE="2")
    assert ended.status == 0, ended
    lab.wait_until_synced()
    run = server.get("/api/v1/runs/run_1").json()
    # its owner is gone without a word, which the server may have noticed
    assert run["status"] in ({"running", "interrupted"} if is_guest else {"finished"})
    assert run["points"] == {"x": 1, "y": 1}


def test_a_program_that_just_disappears_leaves_its_run_open(lab: Lab) -> None:
    lab.run("import flashtrial, os\nflashtrial.init()\nos._exit(0)", **NO_SYNC)
    assert [record.body["status"] for record in lab.records()] == ["running"]


def test_a_full_disk_costs_what_it_cannot_take_and_no_more(lab: Lab) -> None:
    """A limit on the size of files stands for the disk: it takes a part of a record, and then says no."""
    script = """
import flashtrial, json, resource, signal
run = flashtrial.init(run_id="run_1", resume=False)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for number in range(200):
    run.log({"x": float(number)})
full = run._writer.last_seq
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
run.log({"x": -1.0})
report = run.finish()
print(json.dumps({"full": full, "lost": report.lost, "written": report.written}))
"""
    ended = lab.run(script, **NO_SYNC)
    assert ended.status == 0, ended
    told = json.loads(ended.output)
    assert 10 < told["full"] < 200
    assert told["lost"] == 201 - told["full"]
    assert [record.seq for record in lab.records()] == list(range(1, told["written"] + 1))
    assert told["written"] == told["full"] + 2
    values = [record.body["values"]["x"] for record in lab.records() if record.kind == "metric"]
    assert values == [*map(float, range(told["full"] - 1)), -1.0]
    assert ended.errors.count("is lost") == len([n for n in range(1, told["lost"] + 1) if n & (n - 1) == 0])


def test_a_signal_handler_may_log_wherever_it_interrupts(lab: Lab) -> None:
    script = """
import flashtrial, signal
run = flashtrial.init(run_id="run_1", resume=False)
handled = 0
def handler(*_):
    global handled
    handled += 1
    run.log({"handler": float(handled)})
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
for number in range(20_000):
    run.log({"main": float(number)})
signal.setitimer(signal.ITIMER_REAL, 0)
print(handled)
"""
    ended = lab.run(script, **NO_SYNC)
    assert ended.status == 0, ended
    records = lab.records()
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    values = [record.body["values"] for record in records if record.kind == "metric"]
    assert [value["main"] for value in values if "main" in value] == [float(number) for number in range(20_000)]
    assert sorted(value["handler"] for value in values if "handler" in value) == [
        float(number + 1) for number in range(int(ended.output))
    ]
    assert int(ended.output) > 50


def test_an_interrupt_anywhere_in_log_leaves_no_gap_and_no_double(lab: Lab) -> None:
    script = """
import flashtrial, signal
run = flashtrial.init(run_id="run_1", resume=False)
def handler(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
returned, interrupted, number = [], 0, 0
while interrupted < 300:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0001 + 0.000001 * (interrupted % 50))
        while True:
            number += 1
            run.log({"x": float(number)})
            returned.append(number)
    except KeyboardInterrupt:
        interrupted += 1
run.finish()
open("returned", "w").write(repr(returned))
"""
    ended = lab.run(f"import os; os.chdir({str(lab.home.parent)!r})\n{script}", **NO_SYNC)
    assert ended.status == 0, ended
    records = lab.records()
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    values = [record.body["values"]["x"] for record in records if record.kind == "metric"]
    assert len(values) == len(set(values))
    assert set(json.loads((lab.home.parent / "returned").read_text())) <= set(values)
    assert records[-1].body["status"] == "finished"


def test_importing_flashtrial_loads_nothing_heavy(lab: Lab) -> None:
    script = """
import sys, flashtrial
first = set(sys.modules)
flashtrial.init, flashtrial.Settings
heavy = {"pydantic", "urllib3", "typer", "httpx", "numpy", "asyncio"}
print(sorted(first & {*heavy, "ormsgpack"}))
print(sorted(heavy & set(sys.modules)))
"""
    assert lab.run(script).output == "[]\n[]\n"


def test_threads_of_a_trainer_share_its_run(lab: Lab) -> None:
    script = """
import flashtrial, threading
with flashtrial.init() as run:
    threads = [threading.Thread(target=lambda: [run.log({"x": 1.0}) for _ in range(500)]) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
    assert lab.run(script, **NO_SYNC).status == 0
    steps = [record.body["step"] for record in lab.records() if record.kind == "metric"]
    assert steps == list(range(2000))


def seqs_by_writer(lab: Lab) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for record in lab.records():
        found.setdefault(record.writer_id, []).append(record.seq)
    return found


def test_a_daemon_thread_that_logs_to_the_end_gets_no_traceback(lab: Lab) -> None:
    script = """
import flashtrial, threading
run = flashtrial.init()
begun = threading.Event()
def forever():
    while True:
        run.log({"x": 1.0})
        begun.set()
threading.Thread(target=forever, daemon=True).start()
begun.wait()
"""
    ended = lab.run(script, **NO_SYNC)
    assert (ended.status, ended.errors) == (0, ""), ended
    assert lab.records()[-1].body["status"] == "finished"


def test_finish_says_so_when_no_sync_process_can_be_started(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "urllib3.py").write_text("raise ImportError('it is broken')")
    script = "import flashtrial\nprint(flashtrial.init().finish(timeout_s=4))"
    ended = lab.run(script, PYTHONPATH=str(tmp_path))
    assert "2 wait on this disk (nobody sends them: no sync process stays up" in ended.output, ended
    assert "it is broken" in (lab.home / "logs" / "sync.log").read_text()
