"""Bringing an instance up: in this process, or in a session of its own that outlives the terminal.

::

    flashtrial up            claim the home → bind the port → compose the app → serve until a signal → let go
    flashtrial up --detach   the same command in a new session, its output in logs/server.log; wait until it is ready
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from flashtrial.cli import instance, probe
from flashtrial.cli.instance import Instance
from flashtrial.cli.up_options import Say, UpOptions, say_who_may_come
from flashtrial.core import env, files
from flashtrial.core.errors import ConfigurationError, FlashtrialError

READY_DEADLINE_S = 60.0
MAX_LOG_BYTES = 4 * 1024 * 1024
_POLL_S = 0.05


class DidNotStart(FlashtrialError):
    """Raised when a detached instance ended, or did not get ready in time."""


class EndedMeanwhile(DidNotStart):
    """Raised when the instance that was waited for has ended instead: there is room for another one."""


class MissingExtra(FlashtrialError):
    """Raised when the parts that an instance needs are not installed."""


def serve(home: Path, options: UpOptions, say: Say) -> None:
    """Be the instance of `home` until SIGTERM or SIGINT, then end the local RunPod's workers and let go of everything.

    Returns at once, saying so, when the home has an instance already; waits for the end of one that is leaving.
    """
    _make(home)
    while True:
        try:
            with instance.claim(home):
                _serve_claimed(home, options, say)
                return
        except instance.AlreadyRunning:
            if (running := _present(home, say)) is not None:
                say(_already(running))
                return


def _serve_claimed(home: Path, options: UpOptions, say: Say) -> None:
    try:
        from flashtrial.cli import serving
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("flashtrial"):
            raise  # a broken installation of ours, not an extra left out
        raise MissingExtra(f"{error.name} is not installed: pip install 'flashtrial[worker,server]'") from error
    with _signals_end_the_block():
        serving.run(home, options, say)


@contextlib.contextmanager
def _signals_end_the_block() -> Iterator[None]:
    """SIGTERM and SIGINT are an orderly end: before uvicorn listens to them, and when it raises them again afterwards.

    Without this the repeated signal would kill the process before the blocks around have let go.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def detach(home: Path, options: UpOptions, say: Say) -> None:
    """Leave an instance of `home` running in the background and say where. Raises `DidNotStart`."""
    running = _present(home, say)
    if running is not None:
        say(_already(running))
    else:
        _start(home, options, say)


def ensure(home: Path, say: Say) -> Instance:
    """The ready instance of `home`; started as `detach` does when there is none. Raises `DidNotStart`."""
    return _present(home, say) or _start(home, UpOptions(), say)


def _present(home: Path, say: Say) -> Instance | None:
    """The instance of `home` once it is ready; None when there is none, or it was leaving and is gone by now."""
    if not instance.is_claimed(home):
        return None
    try:
        return _await_ready(home, None, say)
    except EndedMeanwhile:
        return None


def _start(home: Path, options: UpOptions, say: Say) -> Instance:
    log = _log_file(home)
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "flashtrial.cli", "up", *options.arguments()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home,
            env=env.snapshot() | {env.HOME: str(home)},
            start_new_session=True,
        )
    started = _await_ready(home, child, say)
    say(f"flashtrial {started.version} is up: {started.url} (pid {started.pid}, log {log})")
    if started.port != options.port and options.port:
        say(f"port {options.port} is taken by another program, so it listens on {started.port}")
    say_who_may_come(options.host, started.port, say, scheme="https" if options.tls_cert else "http")
    return started


def _make(directory: Path) -> Path:
    try:
        return files.ensure_private_dir(directory)
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be made ({error.strerror}): set FLASHTRIAL_HOME to a directory of yours"
        ) from error


def _log_file(home: Path) -> Path:
    """The log of a detached instance, set aside first when it has grown large."""
    path = _make(home / "logs") / "server.log"
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_name("server.log.1"))
    return path


def _await_ready(home: Path, child: "subprocess.Popen[bytes] | None", say: Say) -> Instance:
    """The instance of `home` once it answers; `child` is the process that should become it, if we started one.

    Says what hinders it, as a full disk.
    """
    deadline = time.monotonic() + READY_DEADLINE_S
    while time.monotonic() < deadline:
        found = instance.find(home)
        if found is not None and not found.is_leaving and (readiness := probe.readiness(found.url)).is_up:
            if readiness.detail:
                say(f"{home}: {readiness.detail}")
            return found
        # A child that ends well found somebody else at work: that one will be ready soon.
        if child is not None and child.poll() not in (None, 0):
            raise DidNotStart(f"the instance ended with status {child.returncode}: {_tail(home)}")
        if child is None and not instance.is_claimed(home):
            raise EndedMeanwhile
        time.sleep(_POLL_S)
    raise DidNotStart(f"the instance of {home} is not ready after {READY_DEADLINE_S:g} s: {_tail(home)}")


def _tail(home: Path) -> str:
    log = home / "logs" / "server.log"
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return f"{lines[-1] if lines else 'it said nothing'} (see {log})"


def _already(running: Instance) -> str:
    return f"already up: {running.url} (pid {running.pid}); `flashtrial down` stops it"
