"""Consoles of real scripts: the terminal has what it has without us, and the records have it too, to the last word."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from testkit import wait_until
from testkit.leaks import processes_of_home
from testkit.tracking_server import TrackingClient

from .conftest import TIMEOUT_S, Lab

ON = {"FLASHTRIAL_CONSOLE": "true"}
INIT = """
import flashtrial, os, sys
run = flashtrial.init(run_id='run_1', resume=False, settings={'finish_timeout_s': 0})
"""

MIXED = """
import ctypes, logging, os, subprocess, sys, threading
print("first")
sys.stderr.write("no end of line yet ")
sys.stderr.flush()
subprocess.run(["sh", "-c", "echo child; echo child error >&2; (echo grandchild)"])
for percent in range(0, 101, 10):
    sys.stderr.write(f"\\r{percent:3}%|{'#' * (percent // 10):10}|")
    sys.stderr.flush()
sys.stderr.write("\\n")
os.write(1, b"bad \\xff\\xfe, nul \\x00, colour \\x1b[31mred\\x1b[0m\\n")
print("held back by Python", end="")
ctypes.CDLL(None).printf(b"held back by C\\n")
logging.warning("logged")
os.write(2, b"e" * 100_000 + b"\\n")
print("x" * 300_000)
threads = [threading.Thread(target=lambda: [os.write(1, b"thread\\n") for _ in range(200)]) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("the last words", end="")
"""


class Companions:
    """Knows the companions of one home, and waits for their end."""

    def __init__(self, lab: Lab) -> None:
        self._home = lab.home

    def alive(self) -> list[psutil.Process]:
        """One for each run. A companion that starts something has, for an instant, a child with its command line."""
        found = {process.pid: process for process in processes_of_home(self._home) if _is_companion(process)}
        parents = {pid: _parent_of(process) for pid, process in found.items()}
        return [process for pid, process in found.items() if parents[pid] not in {None, *found}]

    def wait(self) -> None:
        wait_until(lambda: not self.alive(), TIMEOUT_S, "the companions to end")


def _is_companion(process: psutil.Process) -> bool:
    try:
        return "flashtrial.tracking.capture.companion_main" in process.cmdline()
    except psutil.Error:
        return False


def _parent_of(process: psutil.Process) -> int | None:
    """None when it has ended meanwhile."""
    try:
        return process.ppid()
    except psutil.Error:
        return None


@pytest.fixture
def companions(lab: Lab) -> Companions:
    """Those of `lab`, which ends them as it ends all that runs with its home."""
    return Companions(lab)


def consoles(lab: Lab) -> list[dict[str, Any]]:
    return [dict(record.body) for record in lab.records() if record.kind == "console"]


def said(lab: Lab) -> list[str]:
    return [body["text"] for body in consoles(lab)]


def output_of(script: str, lab: Lab, tmp_path: Path, where: str, *, captured: bool) -> tuple[bytes, ...]:
    """What `script` writes to its standard output and error, which are as `where` says."""
    prefix = INIT if captured else ""
    command = [sys.executable, "-c", prefix + script]
    environment = lab.environment(ON)
    if where == "files":
        out, err = tmp_path / f"out{captured}", tmp_path / f"err{captured}"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            subprocess.run(command, env=environment, stdout=stdout, stderr=stderr, timeout=TIMEOUT_S, check=True)
        return out.read_bytes(), err.read_bytes()
    if where == "terminal":
        return (of_a_terminal(command, environment),)
    stderr_to = subprocess.STDOUT if where == "one pipe" else subprocess.PIPE
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=stderr_to, timeout=TIMEOUT_S, check=True
    )
    return done.stdout, done.stderr


def of_a_terminal(command: list[str], environment: dict[str, str]) -> bytes:
    """What a terminal shows of `command`, whose standard output and error it is."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while more := os.read(ours, 65536):
                shown += more
        except OSError:  # nobody has the other end any more
            pass
        finally:
            os.close(ours)
        assert process.wait(TIMEOUT_S) == 0
    return shown


@pytest.mark.parametrize("where", ["two pipes", "one pipe", "files", "terminal"])
def test_the_terminal_has_what_it_has_without_capture(
    lab: Lab, companions: Companions, tmp_path: Path, where: str
) -> None:
    without = output_of(MIXED, lab, tmp_path, where, captured=False)
    assert output_of(MIXED, lab, tmp_path, where, captured=True) == without
    companions.wait()
    recorded = consoles(lab)
    texts = [body["text"] for body in recorded]
    for text in ("first", "child", "grandchild", "the last words", "held back by Python"):
        assert any(text in each for each in texts), text
    assert "bad \\xff\\xfe, nul \\x00, colour \x1b[31mred\x1b[0m" in texts
    assert "100%|##########|" in texts
    assert not any(" 50%" in text for text in texts), "a bar that was drawn over"
    assert texts.count("thread") == 800
    assert [body["line"] for body in recorded] == list(range(1, len(recorded) + 1))
    if where in {"two pipes", "files"}:
        assert {body["stream"] for body in recorded if body["text"] in {"first", "thread"}} == {"stdout"}
        assert {body["stream"] for body in recorded if "child error" in body["text"]} == {"stderr"}


def test_a_terminal_stays_one_and_keeps_its_size(lab: Lab, companions: Companions) -> None:
    script = "print(sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size(1).columns)\n"
    widen = "import fcntl, termios, struct\nfcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 5, 123, 0, 0))\n"
    shown = of_a_terminal([sys.executable, "-c", "import os, sys\n" + widen + INIT + script], lab.environment(ON))
    assert shown.startswith(b"True True 123\r\n")
    companions.wait()
    assert said(lab)[0] == "True True 123"


@pytest.mark.parametrize(
    "death",
    [
        "os.kill(os.getpid(), 9)",
        "os._exit(0)",
        "os.kill(os.getpid(), 11)",
        "raise ValueError('why it died')",
    ],
)
def test_the_last_line_before_a_death_is_at_the_server(
    lab: Lab, companions: Companions, server: TrackingClient, death: str
) -> None:
    lab.run(INIT + f"print('the last line', flush=True)\nos.write(2, b'half a line')\n{death}", **ON)
    companions.wait()
    lab.wait_until_synced()
    counted = server.get("/api/v1/runs/run_1").json()
    assert counted["id"] == "run_1"
    stored = [line["text"] for line in console_lines(server)]
    assert "the last line" in stored
    assert any(text.startswith("half a line") for text in stored)
    if "ValueError" in death:
        assert "ValueError: why it died" in stored


def console_lines(server: TrackingClient) -> list[dict[str, Any]]:
    answer = server.get("/api/v1/runs/run_1/console")
    found: list[dict[str, Any]] = answer.json()["lines"]
    return found


def test_a_line_of_100_megabytes_passes_and_its_beginning_is_kept(lab: Lab, companions: Companions) -> None:
    script = "chunk = b'x' * 1_000_000\nfor _ in range(100): os.write(1, chunk)\nprint('\\nafter')"
    done = subprocess.run(
        [sys.executable, "-c", INIT + script],
        env=lab.environment(ON),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert len(done.stdout) == 100_000_000 + len("\nafter\n")
    companions.wait()
    long, after = said(lab)[:2]
    assert long.endswith("bytes cut]")
    assert len(long) < 20_000
    assert after == "after"


def test_forks_and_spawned_processes_print_to_the_same_console(
    lab: Lab, companions: Companions, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text("""
import flashtrial, multiprocessing, os, sys

def work(number):
    sys.stdout.write(f"worker {number}\\n")  # in one piece: processes print at the same time
    sys.stdout.flush()

if __name__ == "__main__":
    run = flashtrial.init(settings={"finish_timeout_s": 0})
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            pool.map(work, [f"{method}-{number}" for number in range(4)])
    if os.fork() == 0:
        print("forked")
        sys.exit(0)
    os.wait()
    print("parent")
""")
    ended = lab.run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", **ON)
    assert ended.status == 0, ended
    companions.wait()
    expected = {f"worker {method}-{number}" for method in ("fork", "spawn") for number in range(4)}
    assert set(ended.output.split("\n")) == {*expected, "forked", "parent", ""}
    assert sorted(text for text in said(lab) if not text.startswith("run run_")) == sorted(
        [*expected, "forked", "parent"]
    )


def test_a_companion_that_is_killed_takes_nothing_along(lab: Lab, companions: Companions) -> None:
    script = """
import time
print("before", flush=True)
run.log({"x": 1.0})
sys.stdin.readline()
for number in range(20_000): print("after", number)
run.log({"x": 2.0})
"""
    with subprocess.Popen(
        [sys.executable, "-c", INIT + script],
        env=lab.environment(ON),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "before\n"
        [companion] = companions.alive()
        companion.send_signal(signal.SIGTERM)  # which it does not hear
        companion.kill()
        output, _ = trainer.communicate("go\n", timeout=TIMEOUT_S)
    assert trainer.returncode == 0
    # what is written in the instant of the change may come out late, in the middle of a line; every byte does
    assert Counter(output) == Counter("".join(f"after {number}\n" for number in range(20_000)))
    assert [record.body["values"]["x"] for record in lab.records() if record.kind == "metric"] == [1.0, 2.0]


def test_a_reader_that_goes_away_ends_the_script_as_ever(lab: Lab, companions: Companions) -> None:
    command = f'{sys.executable} -c "$SCRIPT" | head -n 1'
    script = INIT + "while True: print('line', flush=True)"
    done = subprocess.run(
        ["sh", "-c", command],
        env={**lab.environment(ON), "SCRIPT": script},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert done.stdout == "line\n"
    assert "BrokenPipeError" in done.stderr
    companions.wait()


@pytest.mark.parametrize("order", ["first second", "second first"])
def test_two_runs_may_overlap_and_their_ends_give_the_console_back(
    lab: Lab, companions: Companions, order: str
) -> None:
    script = f"""
import flashtrial, os
place = os.fstat(1).st_ino
settings = {{"finish_timeout_s": 0}}
runs = {{name: flashtrial.init(run_id=name, settings=settings, resume=False) for name in ("first", "second")}}
print("both", flush=True)
sooner, later = "{order}".split()
runs[sooner].finish()
print("one", flush=True)
runs[later].finish()
print("none", os.fstat(1).st_ino == place)
"""
    ended = lab.run(script, **ON)
    # out of order, the later run leads back to the sooner one's channel, which goes on passing on what comes
    assert ended.output == f"both\none\nnone {order == 'second first'}\n"
    companions.wait()
    printed = [(record.run_id, record.body["text"]) for record in lab.records() if record.kind == "console"]
    sooner, later = order.split()
    assert len(printed) == len(set(printed)), printed
    expected = {("first", "both"), ("second", "both"), (later, "one")}
    # what reaches the outer console through the inner one may come after the outer one's end
    may_be_late = {("first", "both")} if sooner == "first" else set()
    assert expected - may_be_late <= set(printed) <= expected


def test_of_runs_one_after_another_each_has_its_lines_and_leaves_the_descriptors_as_they_were(
    lab: Lab, companions: Companions
) -> None:
    script = """
import flashtrial, os
def state(): return [os.fstat(each).st_ino for each in (0, 1, 2)], len(os.listdir("/proc/self/fd"))
before = state()
for number in range(3):
    with flashtrial.init(run_id=f"run_{number}", resume=False, settings={"finish_timeout_s": 0}):
        print("line", number)
    print("between")
print(state() == before)
"""
    ended = lab.run(script, **ON)
    # a companion that is slower than `finish` waits passes its line on later
    assert sorted(ended.output.splitlines()) == ["True", *["between"] * 3, "line 0", "line 1", "line 2"], ended
    companions.wait()
    printed = [(record.run_id, record.body["text"]) for record in lab.records() if record.kind == "console"]
    assert sorted(printed) == [(f"run_{number}", f"line {number}") for number in range(3)]


def test_finish_counts_what_its_companion_wrote(lab: Lab, companions: Companions, server: TrackingClient) -> None:
    script = (
        "import flashtrial\nr = flashtrial.init(run_id='run_1', resume=False)\nprint('line')\nreport = r.finish()\n"
    )
    ended = lab.run(script + "print(report.written, report.sent, report.pending)", **ON, FLASHTRIAL_FACTS="true")
    # of the run its two states; of the companion those of a guest, the line and the facts
    assert ended.output == "line\n6 6 0\n", ended
    assert [line["text"] for line in console_lines(server)] == ["line"]
    companions.wait()
    lab.wait_until_synced()
    writers = server.get("/api/v1/runs/run_1").json()["writers"]
    assert len(writers) == 2
    assert not [writer for writer in writers if writer.get("reason")], "a companion is no writer that died"


def test_in_a_worker_the_console_is_the_calls(lab: Lab, companions: Companions) -> None:
    script = INIT + "print(os.fstat(1).st_ino)\nimport threading; print(threading.active_count())"
    ended = lab.run(script, **ON, FLASHTRIAL_WORKER_ID="worker_1")
    assert ended.status == 0
    assert companions.alive() == []
    assert consoles(lab) == []


def test_secrets_are_masked_in_the_records_and_not_on_the_terminal(lab: Lab, companions: Companions) -> None:
    ended = lab.run(INIT + "print(os.environ['HF_TOKEN'])", **ON, HF_TOKEN="hf_0123456789", RANK="1", WORLD_SIZE="2")
    assert ended.output == "hf_0123456789\n"
    companions.wait()
    assert said(lab)[0] == "[rank 1] ***"


def test_secrets_of_the_configuration_are_masked_in_what_is_printed_next(lab: Lab, companions: Companions) -> None:
    script = """
import flashtrial
run = flashtrial.init(config={"api_key": "hunter2-of-mine"}, settings={"finish_timeout_s": 0})
print("first hunter2-of-mine", flush=True)
for number in range(50):
    run.update_config({"hub": {"auth_token": f"battery-staple-{number}."}})
    print(f"battery-staple-{number}.", flush=True)
"""
    ended = lab.run(script, **ON)
    assert ended.output.endswith("battery-staple-49.\n")
    companions.wait()
    assert said(lab) == ["first ***", *["***"] * 50]


def test_a_secret_longer_than_any_line_costs_no_line(lab: Lab, companions: Companions) -> None:
    script = """
import flashtrial
run = flashtrial.init(
    config={"credentials": "k" * 150_000, "api_key": "hunter2-of-mine"}, settings={"finish_timeout_s": 0}
)
print("first hunter2-of-mine", flush=True)
run.update_config({"hub": {"private_key": "s" * 150_000, "auth_token": "battery-staple"}})
print("then battery-staple", flush=True)
"""
    lab.run(script, **ON)
    companions.wait()
    assert said(lab) == ["first ***", "then ***"]


def test_where_nothing_can_be_printed_no_record_is_lost_to_what_is_printed(lab: Lab, companions: Companions) -> None:
    """Closed descriptors have the numbers that the next files get: the journal, say, into which C code would print."""
    script = INIT + "run.log({'x': 1.0})\nfor each in (0, 1, 2): os.write(each, b'from C')\nrun.log({'x': 2.0})"
    closing = f"import os, sys\nos.closerange(0, 3)\nos.execv(sys.executable, [sys.executable, '-c', {script!r}])"
    ended = lab.run(closing, **ON)
    assert ended.status == 0
    companions.wait()
    assert [record.body["values"]["x"] for record in lab.records() if record.kind == "metric"] == [1.0, 2.0]


def test_names_that_are_no_utf_8_cost_nobody_the_console(lab: Lab, companions: Companions, tmp_path: Path) -> None:
    script = "import os\nplace = os.fsencode(os.getcwd()) + b'/\\xff'\nos.mkdir(place); os.chdir(place)\n"
    ended = lab.run(
        f"import os\nos.chdir({str(tmp_path)!r})\n" + script + INIT + "print('line')", **ON, FLASHTRIAL_FACTS="1"
    )
    assert (ended.output, ended.errors) == ("line\n", "")
    companions.wait()
    assert said(lab) == ["line"]
    [facts] = [record.body["value"] for record in lab.records() if record.kind == "data"]
    assert facts["directory"] == f"{tmp_path}/\\udcff"


def test_facts_are_noted_once_with_secrets_masked(lab: Lab, companions: Companions, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    script = repository / "train.py"
    script.write_text(INIT)
    git = ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false"]
    for command in (
        ["init", "-q", "-b", "topic"],
        ["remote", "add", "origin", "https://me:secret@example.org/r.git"],
        ["add", "."],
        ["commit", "-q", "-m", "first"],
    ):
        subprocess.run([*git, *command], check=True)
    script.write_text(INIT + "print('changed')\n")
    environment = lab.environment({"FLASHTRIAL_FACTS": "true", "OMP_NUM_THREADS": "3", "NOT_SHOWN": "x"})
    command = [sys.executable, str(script), "--lr", "0.1", "--api-key", "hidden"]
    subprocess.run(command, env=environment, check=True, timeout=TIMEOUT_S, capture_output=True)
    companions.wait()
    [facts] = [record.body for record in lab.records() if record.kind == "data"]
    assert (facts["name"], facts["type"], facts["step"]) == ("sys/facts", "facts", None)
    value = facts["value"]
    assert value["command"] == [sys.executable, str(script), "--lr", "0.1", "--api-key", "***"]
    assert value["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert value["packages"]["ormsgpack"]
    assert value["environment"] == {"OMP_NUM_THREADS": "3"}
    state = value["git"]
    assert (state["branch"], state["dirty"], state["remote"]) == ("topic", True, "https://***@example.org/r.git")
    assert re.fullmatch(r"[0-9a-f]{40}", state["commit"])
    assert "+print('changed')" in state["diff"]


def test_a_run_has_system_figures_soon_after_it_was_opened(lab: Lab) -> None:
    script = INIT + "import time\nwhile run._writer.last_seq < 3: time.sleep(0.01)"
    capture = {"FLASHTRIAL_SYSTEM_MONITOR": "true", "FLASHTRIAL_SYSTEM_INTERVAL_S": "0.1"}
    ended = lab.run(script, **capture, FLASHTRIAL_WORKER_ID="w")
    assert ended.status == 0, ended
    first, second, *_ = [record.body["values"] for record in lab.records() if record.kind == "system"]
    assert "sys/memory.used_bytes" in first
    assert "sys/process.cpu_percent" in second
