"""Commands run to their end, or ended, with nothing of them left."""

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from flashtrial.process.subprocess_utils import (
    CommandFailed,
    CommandNotFound,
    CommandTimedOut,
    run_logged_subprocess,
)
from testkit import wait_until_async


def python(source: str) -> list[str]:
    return [sys.executable, "-u", "-c", source]


def pid_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


def has_ended(pid: int) -> bool:
    """Gone, or dead and only waiting for somebody else to read its status."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_both_streams_and_the_status_come_back() -> None:
    done = await run_logged_subprocess(["sh", "-c", "echo out; echo err >&2"], deadline_s=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
    assert 0 < done.duration_s < 10


async def test_failure_carries_the_status_and_both_streams() -> None:
    with pytest.raises(CommandFailed) as caught:
        await run_logged_subprocess(["sh", "-c", "echo out; echo why >&2; exit 7"], deadline_s=10)
    assert (caught.value.returncode, caught.value.stdout, caught.value.stderr) == (7, "out\n", "why\n")


async def test_death_by_a_signal_is_a_failure_with_a_negative_status() -> None:
    with pytest.raises(CommandFailed) as caught:
        await run_logged_subprocess(["sh", "-c", "kill -SEGV $$"], deadline_s=10)
    assert caught.value.returncode == -11


@pytest.mark.parametrize("command", ["no-such-program-here", "/etc/passwd", "/etc/passwd/x"])
async def test_program_that_cannot_be_run_is_named(command: str) -> None:
    with pytest.raises(CommandNotFound, match=command):
        await run_logged_subprocess([command], deadline_s=10)


async def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandNotFound, match="nowhere"):
        await run_logged_subprocess(["true"], deadline_s=10, cwd=tmp_path / "nowhere")


async def test_environment_directory_and_empty_input_are_as_asked(tmp_path: Path) -> None:
    source = "import os, sys; print(os.environ['GIVEN'], os.getcwd(), len(sys.stdin.read()))"
    done = await run_logged_subprocess(python(source), deadline_s=10, env={"GIVEN": "x"}, cwd=tmp_path)
    assert done.stdout == f"x {tmp_path} 0\n"


async def test_lines_are_logged_while_the_command_runs(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG, logger="flashtrial")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    task = asyncio.create_task(run_logged_subprocess(["sh", "-c", f"echo first; cat {gate}; echo last"], deadline_s=20))
    await wait_until_async(lambda: "| first" in caplog.text, 10, "the first line in the log")
    assert not task.done()
    await asyncio.to_thread(gate.write_text, "open\n")
    await task
    assert [record.message for record in caplog.records if record.message.startswith("|")] == [
        "| first",
        "| open",
        "| last",
    ]


async def test_endless_line_is_logged_in_pieces_and_kept_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="flashtrial")
    source = "import sys; sys.stdout.write('a' * 3_000_000 + 'end')"
    done = await run_logged_subprocess(python(source), deadline_s=20, kept_bytes=1000)
    assert len(done.stdout) < 1100
    assert done.stdout.startswith("aaa")
    assert done.stdout.endswith("end")
    assert "2999003 bytes cut" in done.stdout
    assert max(len(record.message) for record in caplog.records) < 10_000


async def test_deadline_ends_the_whole_group_and_keeps_what_was_said(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(CommandTimedOut) as caught:
        await run_logged_subprocess(["sh", "-c", f"echo so far; sleep 63 & echo $! >{note}; wait"], deadline_s=0.5)
    assert caught.value.stdout == "so far\n"
    assert time.monotonic() - started < 30  # not the 63 s of the grandchild
    await wait_until_async(lambda: has_ended(pid_in(note)), 5, "the process to be gone")  # a KILL takes a moment


async def test_deaf_command_is_killed_after_the_grace() -> None:
    source = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(64)"
    with pytest.raises(CommandTimedOut) as caught:
        await run_logged_subprocess(python(source), deadline_s=1.5, grace_s=0.1)
    assert caught.value.stdout == "deaf\n"


async def test_grandchild_in_the_group_does_not_outlive_the_command(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    done = await run_logged_subprocess(["sh", "-c", f"sleep 65 & echo $! >{note}; echo done"], deadline_s=30)
    assert done.stdout == "done\n"
    await wait_until_async(lambda: has_ended(pid_in(note)), 5, "the process to be gone")  # a KILL takes a moment


async def test_grandchild_of_another_session_that_holds_the_pipes_cannot_hang_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    command = f"setsid sh -c 'echo $$ >{note}; exec sleep 66' & while [ ! -s {note} ]; do :; done; echo done"
    done = await run_logged_subprocess(["sh", "-c", command], deadline_s=30)
    assert done.stdout == "done\n"
    stranger = psutil.Process(pid_in(note))
    assert stranger.is_running()
    stranger.kill()


async def test_cancellation_ends_the_group_and_is_passed_on(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    command = ["sh", "-c", f"trap '' TERM; sleep 67 & echo $! >{note}; wait; wait"]
    task = asyncio.create_task(run_logged_subprocess(command, deadline_s=60, grace_s=0.1))
    grandchild = await wait_until_async(lambda: pid_in(note), 10, "the grandchild")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until_async(lambda: has_ended(grandchild), 5, "the process to be gone")  # a KILL takes a moment


async def test_second_cancellation_does_not_leave_the_command_behind(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    command = python(
        f"import signal, os, time; signal.signal(15, signal.SIG_IGN); open({str(note)!r}, 'w').write(str(os.getpid()));"
        "time.sleep(68)"
    )
    task = asyncio.create_task(run_logged_subprocess(command, deadline_s=60, grace_s=30))
    child = await wait_until_async(lambda: pid_in(note), 10, "the child")
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until_async(lambda: has_ended(child), 5, "the process to be gone")  # a KILL takes a moment
