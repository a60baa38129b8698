"""`flashtrial run`: the script's own streams, signals and exit code, and the instance it leaves up."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

from testkit import wait_until

from .conftest import Flashtrial


def script(tmp_path: Path, source: str) -> str:
    path = tmp_path / "script.py"
    path.write_text(source)
    return str(path)


def test_the_exit_code_is_the_scripts(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    ended = flashtrial_cli("run", script(tmp_path, "import sys; print('before'); sys.exit(7)"))
    assert ended.returncode == 7
    assert "before\n" in ended.stdout


def test_a_script_that_raises_shows_its_own_traceback_only(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    ended = flashtrial_cli("run", script(tmp_path, "raise ValueError('mine')"))
    assert ended.returncode == 1
    assert "ValueError: mine" in ended.stderr
    *_, told, last = ended.stdout.splitlines()
    assert told.endswith("script.py ended with exit code 1")
    assert last.startswith("dashboard: ")
    assert "flashtrial/cli" not in ended.stderr


def test_a_script_that_dies_of_a_signal_tells_which(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    ended = flashtrial_cli("run", script(tmp_path, "import os; os.kill(os.getpid(), 9)"))
    assert ended.returncode == 128 + signal.SIGKILL


def test_arguments_directory_and_input_are_the_scripts(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    source = "import os, sys; print(sys.argv[1:], os.getcwd(), sys.stdin.read())"
    ended = subprocess.run(
        flashtrial_cli.argv("run", script(tmp_path, source), "--help", "-x", "a b"),
        input="given",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=flashtrial_cli.environment(),
        check=True,
        timeout=50,
    )
    assert f"['--help', '-x', 'a b'] {tmp_path} given\n" in ended.stdout


def test_the_script_finds_the_instance_which_stays_up(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    source = "import os; print('ASKED', os.environ['FLASHTRIAL_URL'], os.environ['FLASH_IS_LIVE_PROVISIONING'])"
    ended = flashtrial_cli("run", script(tmp_path, source), RUNPOD_POD_ID="stale")
    url = flashtrial_cli.instance()["url"]
    assert f"ASKED {url} true\n" in ended.stdout
    assert f"dashboard: {url}" in ended.stdout
    assert "flashtrial down" in ended.stdout
    assert flashtrial_cli("status").returncode == 0


def test_without_a_terminal_the_runs_come_as_plain_lines_at_the_end(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    source = """
import flashtrial
flashtrial.init(project="cli", name="one")
flashtrial.log({"loss": 0.5})
flashtrial.finish()
print("trained")
"""
    ended = flashtrial_cli("run", script(tmp_path, source), FORCE_COLOR="1")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"trained\n(.*\n)*cli/one  finished  1 points  loss=0.5\n", ended.stdout)
    assert "\x1b" not in ended.stdout


def test_what_is_logged_arrives_from_a_python_that_drops_docstrings(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    source = "import flashtrial; flashtrial.init(project='bare'); flashtrial.log({'loss': 1.0}); flashtrial.finish()"
    ended = flashtrial_cli("run", script(tmp_path, source), PYTHONOPTIMIZE="2")
    assert "finished  1 points  loss=1" in ended.stdout, ended.stderr


def test_sigterm_goes_to_the_script_which_decides(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    flashtrial_cli("up", "--detach")
    ready = tmp_path / "ready"
    source = f"""
import pathlib, signal, sys
def leave(*_):
    print("leaving well", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
pathlib.Path({str(ready)!r}).touch()
while True:
    signal.pause()
"""
    argv = flashtrial_cli.argv("run", script(tmp_path, source))
    for number in (signal.SIGTERM, signal.SIGINT):
        ready.unlink(missing_ok=True)
        with subprocess.Popen(
            argv, env=flashtrial_cli.environment(), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        ) as process:
            wait_until(ready.exists, 30, "the script")
            process.send_signal(number)
            said = process.communicate(timeout=20)[0]
        assert "leaving well" in said
        assert process.returncode == 3


PROMPT = b"your turn?"


def on_a_terminal(argv: list[str], environment: dict[str, str], typed: bytes = b"") -> tuple[int, str]:
    """The exit code and the screen of a command that runs on a terminal of its own; `typed` follows a prompt."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, {**environment, "TERM": "xterm-256color", "COLUMNS": "120"})
    screen = b""
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            screen += os.read(terminal, 65536)
        except OSError:
            break
        if typed and PROMPT in screen:
            os.write(terminal, typed)
            typed = b""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen.decode(errors="replace")


def test_on_a_terminal_the_runs_are_drawn_below_the_scripts_output(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    flashtrial_cli("up", "--detach")
    source = """
import sys, flashtrial
assert sys.stdout.isatty()
flashtrial.init(project="cli", name="drawn")
flashtrial.log({"loss": 0.25})
print("a line with [brackets]")
flashtrial.finish()
sys.exit(int(input("your turn? ")))
"""
    code, screen = on_a_terminal(
        flashtrial_cli.argv("run", script(tmp_path, source)), flashtrial_cli.environment(), b"5\n"
    )
    assert code == 5
    assert "a line with [brackets]" in screen
    assert "drawn" in screen
    assert "1 of 1 runs ended" in screen


def test_ctrl_c_on_a_terminal_reaches_the_script_once(flashtrial_cli: Flashtrial, tmp_path: Path) -> None:
    flashtrial_cli("up", "--detach")
    source = """
import signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("your turn?", flush=True)
while not seen:
    time.sleep(0.02)
time.sleep(1)  # a second one would have come by now
sys.exit(40 + len(seen))
"""
    code, _ = on_a_terminal(flashtrial_cli.argv("run", script(tmp_path, source)), flashtrial_cli.environment(), b"\x03")
    assert code == 41
