"""How a child comes to be: forked from its environment's template where that is safe, spawned where it is not."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from flashtrial.process.channel import Channel, ChannelClosed, socket_pair
from flashtrial.process.child import Child
from flashtrial.process.environment import Environment
from flashtrial.protocol.child import (
    AskStatus,
    Command,
    Fork,
    Forked,
    Message,
    Preload,
    Preloaded,
    ProtocolError,
    Setup,
    Status,
)

PRELOAD_DEADLINE_S: Final = 120.0
TEMPLATE_DEADLINE_S: Final = 10.0
_HOST: Final = "from flashtrial.process.instance_host import main; main()"
_ZYGOTE: Final = "from flashtrial.process.zygote import main; main()"

logger = logging.getLogger(__name__)


class StartMethod(StrEnum):
    """`fork` means from a template; `spawn` a fresh interpreter for each child."""

    FORK = "fork"
    SPAWN = "spawn"


def default_start_method() -> StartMethod:
    """Templates need pidfds and descriptors that survive a fork: Linux. Elsewhere children are spawned."""
    return StartMethod.FORK if sys.platform == "linux" and hasattr(os, "pidfd_open") else StartMethod.SPAWN


class TemplateLost(ConnectionError):
    """Raised when a template process is gone or does not answer; children are spawned or a new one is started."""


class SpawnedProcess:
    """A child that is our own: we wait for it ourselves."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid
        self.pidfd: int | None = os.pidfd_open(popen.pid) if hasattr(os, "pidfd_open") else None

    def signal_group(self, number: signal.Signals) -> None:
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def exit_code(self) -> int | None:
        if self._popen.returncode is None:
            await asyncio.to_thread(os.waitid, os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        # the dead leader is not reaped yet, so its number cannot be another's: end what it left in its session
        self.signal_group(signal.SIGKILL)
        return self._popen.wait()

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class ForkedProcess:
    """A child of a template: the template reaps it and tells how it ended."""

    def __init__(self, template: "Template", pid: int, pidfd: int) -> None:
        self._template = template
        self.pid = pid
        self.pidfd: int | None = pidfd
        self._exit: asyncio.Task[int | None] | None = None
        self._ended = False

    def signal_group(self, number: signal.Signals) -> None:
        if self._ended or self.pidfd is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, 0)  # raises when the leader is reaped: the number may be another's
            os.killpg(self.pid, number)

    async def exit_code(self) -> int | None:
        if self._exit is None:
            self._exit = asyncio.ensure_future(self._wait())
        return await asyncio.shield(self._exit)

    async def _wait(self) -> int | None:
        if self.pidfd is not None:
            await _until_readable(self.pidfd)
        self._ended = True
        return await asyncio.to_thread(self._template.status_of, self.pid)

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class Template:
    """The zygote of one environment, as the parent sees it. Requests block; threads take turns.

    Started by the thread that lives longest (`start` is not for a thread pool): the kernel kills the zygote when the
    thread that made it ends.
    """

    def __init__(self, environment: Environment, variables: Mapping[str, str]) -> None:
        self._environment = environment
        self._variables = variables
        self._lock = threading.Lock()
        self._seen: set[tuple[str, tuple[str, ...]]] = set()
        self._popen: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self.unsafe_reason = ""

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start the process; it is of use at once, since requests wait in its socket."""
        ours, theirs = socket_pair()
        with theirs:
            self._popen = _start_python(_ZYGOTE, theirs, self._variables)
        ours.settimeout(TEMPLATE_DEADLINE_S)
        self._channel = Channel(ours)
        self._seen.clear()
        self._send(Setup(_path_strings(self._environment)))

    def preload(self, source: str, local_names: Sequence[str]) -> None:
        """Have the template import what `source` imports; quick when it was asked before. Sets `unsafe_reason`."""
        key = (source, tuple(local_names))
        with self._lock:
            if key in self._seen:
                return
            answer = self._ask(Preload(source, key[1]), PRELOAD_DEADLINE_S)
            if not isinstance(answer, Preloaded):
                raise ProtocolError(f"expected Preloaded, got {type(answer).__name__}")
            self._seen.add(key)
            self.unsafe_reason = self.unsafe_reason or answer.reason
        if answer.modules:
            logger.info("imported ahead for environment %s: %s", self._environment.key, ", ".join(answer.modules))

    def fork(self) -> tuple[ForkedProcess, socket.socket]:
        """A new child and our end of its control socket."""
        ours, theirs = socket_pair()
        with self._lock, theirs:
            self._send(Fork(), [theirs.fileno()])
            answer, descriptors = self._receive(TEMPLATE_DEADLINE_S)
        if not isinstance(answer, Forked):
            raise ProtocolError(f"expected Forked, got {type(answer).__name__}")
        return ForkedProcess(self, answer.pid, descriptors[0]), ours

    def status_of(self, pid: int) -> int | None:
        """How the forked child `pid`, which is over, ended; None when the template cannot tell any more."""
        with self._lock:
            try:
                answer = self._ask(AskStatus(pid), TEMPLATE_DEADLINE_S)
            except TemplateLost:
                return None
        return answer.exit_code if isinstance(answer, Status) else None

    def stop(self) -> None:
        """End the template, and with it every child it forked. Safe to call twice."""
        if self._channel is not None:
            self._channel.close()
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def _ask(self, command: Command, deadline_s: float) -> Message:
        self._send(command)
        return self._receive(deadline_s)[0]

    def _send(self, command: Command, descriptors: Sequence[int] = ()) -> None:
        if self._channel is None or not self.is_running:
            raise TemplateLost(f"the template of environment {self._environment.key} is gone")
        with _as_template_lost():
            self._channel.send(command, descriptors)

    def _receive(self, deadline_s: float) -> tuple[Message, list[int]]:
        assert self._channel is not None
        with _as_template_lost():
            self._channel.set_timeout(deadline_s)
            return self._channel.receive()


def spawn(environment: Environment, variables: Mapping[str, str]) -> tuple[SpawnedProcess, socket.socket]:
    """A child from a fresh interpreter, and our end of its control socket."""
    ours, theirs = socket_pair()
    with theirs:
        popen = _start_python(_HOST, theirs, variables)
    Channel(ours).send(Setup(_path_strings(environment)))
    return SpawnedProcess(popen), ours


class Launcher:
    """Makes children of any environment, each from a template of its environment where that is safe."""

    def __init__(self, variables: Mapping[str, str], start_method: StartMethod | None = None) -> None:
        self._variables = variables
        self._method = start_method or default_start_method()
        self._templates: dict[str, Template] = {}

    async def launch(
        self, environment: Environment, source: str, local_names: Sequence[str], *, holds_instance: bool
    ) -> Child:
        """A child that is ready for `source`. A template that fails is replaced by a spawned child, and said so."""
        if self._method is StartMethod.FORK:
            template = self._template(environment)
            try:
                await asyncio.to_thread(template.preload, source, local_names)
                if not template.unsafe_reason:
                    process, endpoint = await asyncio.to_thread(template.fork)
                    return Child(process, Channel(endpoint), holds_instance=holds_instance)
            except TemplateLost as lost:
                template.stop()
                logger.warning("%s; spawning instead", lost, extra={"action": "template_lost"})
        spawned, endpoint = spawn(environment, self._variables)
        return Child(spawned, Channel(endpoint), holds_instance=holds_instance)

    def _template(self, environment: Environment) -> Template:
        template = self._templates.get(environment.key)
        if template is None:
            template = self._templates[environment.key] = Template(environment, self._variables)
        if not template.is_running:
            template.start()
        return template

    def close(self) -> None:
        """End every template, and with them whatever they forked."""
        for template in self._templates.values():
            template.stop()
        self._templates.clear()


def _start_python(program: str, endpoint: socket.socket, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # -P: the worker's current directory is the user's, and must not shadow the standard library
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program, str(endpoint.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=2,
        env=dict(variables),
        pass_fds=(endpoint.fileno(),),
        start_new_session=True,
    )


def _path_strings(environment: Environment) -> tuple[str, ...]:
    return tuple(str(path) for path in environment.paths)


@contextlib.contextmanager
def _as_template_lost() -> Iterator[None]:
    try:
        yield
    except (ChannelClosed, TimeoutError, OSError) as error:
        raise TemplateLost(f"a template process does not answer: {str(error) or type(error).__name__}") from error


async def _until_readable(descriptor: int) -> None:
    """Wait on a duplicate, so that nobody else's listening on `descriptor` is disturbed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    duplicate = os.dup(descriptor)
    loop.add_reader(duplicate, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(duplicate)
        os.close(duplicate)
