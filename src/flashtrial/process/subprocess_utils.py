"""The one way this project runs a command: logged, bounded in time and memory, and ended with all that it started.

    our process ── own session: command ── its children …
        ▲ two pipes │        ended together: TERM, grace, KILL

The pipes are ours and not asyncio's, whose `wait` returns in some Python versions only once every holder of the pipes
is gone. When the group has ended, they are read until they are empty, not until they are closed: a grandchild that left
the group and holds them cannot keep us waiting.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flashtrial.core.errors import FlashtrialError
from flashtrial.process.head_and_tail import HeadAndTail

log = logging.getLogger(__name__)

KEPT_BYTES = 256 * 1024
GRACE_S = 2.0
_GROUP_POLL_S = 0.02
_LONGEST_LINE_BYTES = 8 * 1024
_CHUNK_BYTES = 64 * 1024
_LARGEST_PIPE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CompletedCommand:
    """A command that ended by itself. The streams are decoded as UTF-8 and cut in the middle when long."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    duration_s: float


class CommandError(FlashtrialError):
    """Raised when a command did not do what it was run for; the base of the three below."""


class CommandNotFound(CommandError):
    """Raised when there is no such program, or it may not be run."""


class CommandFailed(CommandError):
    """Raised when a command ended with a status other than 0; negative: by that signal."""

    def __init__(self, completed: CompletedCommand) -> None:
        super().__init__(f"{completed.command[0]} ended with status {completed.returncode}")
        self.completed = completed
        self.returncode = completed.returncode
        self.stdout = completed.stdout
        self.stderr = completed.stderr


class CommandTimedOut(CommandError):
    """Raised when a command was ended because its deadline had passed; the streams are what it said till then."""

    def __init__(self, command: Sequence[str], deadline_s: float, stdout: str, stderr: str) -> None:
        super().__init__(f"{command[0]} did not end within {deadline_s:g} s")
        self.command = tuple(command)
        self.deadline_s = deadline_s
        self.stdout = stdout
        self.stderr = stderr


async def run_logged_subprocess(
    command: Sequence[str],
    *,
    deadline_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    grace_s: float = GRACE_S,
    kept_bytes: int = KEPT_BYTES,
) -> CompletedCommand:
    """Run `command` (no shell) to its end, each line of its output logged at DEBUG as it comes.

    It gets a session of its own, no standard input, and `env` in place of our environment where given. On every way
    out, cancellation too, its process group is ended: TERM, `grace_s`, KILL. Of each stream `kept_bytes` are kept.
    Returns, or raises, at most `deadline_s` + `grace_s` and some milliseconds after the call.

    Raises `CommandNotFound`, `CommandFailed` for a status other than 0, `CommandTimedOut`.
    """
    started = time.monotonic()
    outputs = _Output(kept_bytes), _Output(kept_bytes)
    log.debug("running %s", shlex.join(command), extra={"action": "command_started"})
    try:
        with _followed(outputs) as pipes:
            process = await _start(command, pipes, env=env, cwd=cwd)
            returncode = await _end_of(process, deadline_s, grace_s)
    except TimeoutError:
        raise CommandTimedOut(command, deadline_s, *(output.kept.text() for output in outputs)) from None
    stdout, stderr = (output.kept.text() for output in outputs)
    completed = CompletedCommand(tuple(command), returncode, stdout, stderr, time.monotonic() - started)
    log.debug("%s: status %d after %.2f s", command[0], returncode, completed.duration_s)
    if returncode:
        raise CommandFailed(completed)
    return completed


class _Output:
    """One stream of the command: what is kept of it, and its lines on their way to the log."""

    def __init__(self, kept_bytes: int) -> None:
        self.kept = HeadAndTail(kept_bytes)
        self._line = b""

    def take(self, chunk: bytes) -> None:
        self.kept.add(chunk)
        *lines, self._line = (self._line + chunk).split(b"\n")
        for line in lines:
            _log_line(line)
        if len(self._line) > _LONGEST_LINE_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._line:
            _log_line(self._line)
            self._line = b""


def _log_line(line: bytes) -> None:
    if log.isEnabledFor(logging.DEBUG):
        log.debug("| %s", line[:_LONGEST_LINE_BYTES].decode(errors="replace"), extra={"action": "command_output"})


@contextlib.contextmanager
def _followed(outputs: tuple[_Output, _Output]) -> Iterator[tuple[int, int]]:
    """The writing ends of two pipes, closed by whoever gets them; what they carry goes into `outputs`."""
    (out_reader, out_writer), (err_reader, err_writer) = os.pipe(), os.pipe()
    readers = _Reader(out_reader, outputs[0]), _Reader(err_reader, outputs[1])
    try:
        yield out_writer, err_writer
    finally:
        for reader in readers:
            reader.finish()


class _Reader:
    """Moves what is written to a pipe into an `_Output`, from the event loop; owns the descriptor."""

    def __init__(self, descriptor: int, output: _Output) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def finish(self) -> None:
        """Take what is in the pipe at this moment, at most as much as a pipe can hold, and close it."""
        for _ in range(_LARGEST_PIPE_BYTES // _CHUNK_BYTES):
            if not self._read():
                break
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._output.flush()

    def _read(self) -> bool:
        """Whether there was anything; at the end of the stream the loop is told to stop asking."""
        try:
            chunk = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        if chunk:
            self._output.take(chunk)
        else:
            self._loop.remove_reader(self._descriptor)
        return bool(chunk)


async def _start(
    command: Sequence[str], pipes: tuple[int, int], *, env: Mapping[str, str] | None, cwd: Path | None
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipes[0],
            stderr=pipes[1],
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise CommandNotFound(f"{command[0]} cannot be run: {error.strerror}: {error.filename}") from error
    finally:
        for pipe in pipes:
            os.close(pipe)


async def _end_of(process: asyncio.subprocess.Process, deadline_s: float, grace_s: float) -> int:
    """The status of `process`; when this returns or raises, nothing of its group is left but zombies."""
    try:
        async with asyncio.timeout(deadline_s):
            return await process.wait()
    finally:
        try:
            await _end_group(process, grace_s)
        finally:
            _signal_group(process, signal.SIGKILL)
            await process.wait()


async def _end_group(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Ask the group to end, and return when it has, or after `grace_s`."""
    _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    # Nobody tells of the end of a group, only of that of its leader.
    while _signal_group(process, 0) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_GROUP_POLL_S)


def _signal_group(process: asyncio.subprocess.Process, number: int) -> bool:
    """Whether there was anybody in the group to get the signal; 0 only asks.

    The group's number cannot have been given to strangers while one of it lives, nor within the moment after.
    """
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM when only zombies are left
        return False
    return True
