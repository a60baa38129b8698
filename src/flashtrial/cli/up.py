"""Bringing an instance up: in this process, or in a session of its own that outlives the terminal.

::

    flashtrial up            claim the home → bind the port → compose the app → serve until a signal → let go
    flashtrial up --detach   the same command in a new session, its output in logs/server.log; wait until it is ready
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import flashtrial
from flashtrial.cli import instance
from flashtrial.cli.instance import Instance
from flashtrial.core import env, files
from flashtrial.core.errors import ConfigurationError, FlashtrialError

READY_DEADLINE_S = 60.0
GRACE_S = 5
KEEP_ALIVE_S = 5
MAX_LOG_BYTES = 4 * 1024 * 1024
_POLL_S = 0.05
_LOOPBACK = frozenset({"localhost", "::1"})

Say = Callable[[str], None]


class DidNotStart(FlashtrialError):
    """Raised when a detached instance ended, or did not get ready in time."""


class EndedMeanwhile(DidNotStart):
    """Raised when the instance that was waited for has ended instead: there is room for another one."""


class MissingExtra(FlashtrialError):
    """Raised when the parts that an instance needs are not installed."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `flashtrial up` was asked for; `workers` bounds the worker processes of each endpoint.

    `dispatcher_port` is a second one, with the dispatcher alone. `allowed_hosts` are names under which a proxy forwards
    to us. With `tls_cert` and `tls_key`, PEM files, `port` speaks TLS alone. A request that is being answered at the
    end is waited for `grace_s`, an idle connection is closed after `keep_alive_s`.
    """

    host: str = "127.0.0.1"
    port: int = env.DEFAULT_PORT
    workers: int = 4
    runpod: bool = True
    dispatcher_port: int | None = None
    allowed_hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_level: str | None = None
    access_log: bool = False
    grace_s: int = GRACE_S
    keep_alive_s: int = KEEP_ALIVE_S

    @property
    def is_for_others(self) -> bool:
        """Whether others than this machine's programs are meant to come, who then need a token."""
        return not is_loopback(self.host) or bool(self.allowed_hosts)

    def arguments(self) -> list[str]:
        """The command line that says the same."""
        asked = ["--host", self.host, "--port", str(self.port), "--workers", str(self.workers)]
        asked += [word for name in self.allowed_hosts for word in ("--allowed-host", name)]
        given = {
            "--dispatcher-port": self.dispatcher_port,
            "--tls-cert": self.tls_cert and self.tls_cert.absolute(),
            "--tls-key": self.tls_key and self.tls_key.absolute(),
            "--log-level": self.log_level,
            "--grace": None if self.grace_s == GRACE_S else self.grace_s,
            "--keep-alive": None if self.keep_alive_s == KEEP_ALIVE_S else self.keep_alive_s,
        }
        asked += [str(word) for option, value in given.items() if value is not None for word in (option, value)]
        flags = {"--no-runpod": not self.runpod, "--access-log": self.access_log}
        return asked + [flag for flag, is_set in flags.items() if is_set]


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
            if (running := _present(home)) is not None:
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
    running = _present(home)
    if running is not None:
        say(_already(running))
    else:
        _start(home, options, say)


def ensure(home: Path, say: Say) -> Instance:
    """The ready instance of `home`; started as `detach` does when there is none. Raises `DidNotStart`."""
    return _present(home) or _start(home, UpOptions(), say)


def _present(home: Path) -> Instance | None:
    """The instance of `home` once it is ready; None when there is none, or it was leaving and is gone by now."""
    if not instance.is_claimed(home):
        return None
    try:
        return _await_ready(home, None)
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
    started = _await_ready(home, child)
    say(f"flashtrial {started.version} is up: {started.url} (pid {started.pid}, log {log})")
    if started.port != options.port and options.port:
        say(f"port {options.port} is taken by another program, so it listens on {started.port}")
    say_who_may_come(options.host, started.port, say, scheme="https" if options.tls_cert else "http")
    return started


def say_who_may_come(host: str, port: int, say: Say, *, scheme: str = "http") -> None:
    """Off loopback, tell the address for other machines and where the token is that they need."""
    if not is_loopback(host):
        say(
            f"other machines reach it as {scheme}://{socket.gethostname()}:{port}; its API needs the token that "
            "`flashtrial env` prints as FLASHTRIAL_TOKEN"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host`."""
    return host in _LOOPBACK or host.startswith("127.")


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


def _await_ready(home: Path, child: "subprocess.Popen[bytes] | None") -> Instance:
    """The instance of `home` once it answers; `child` is the process that should become it, if we started one."""
    deadline = time.monotonic() + READY_DEADLINE_S
    while time.monotonic() < deadline:
        found = instance.find(home)
        if found is not None and not found.is_leaving and found.answers("/readyz"):
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


def own_instance(url: str, port: int, *, runpod: bool) -> Instance:
    """What this process writes about itself once it serves."""
    return Instance(os.getpid(), url, port, time.time_ns() // 1_000_000, flashtrial.__version__, runpod=runpod)
