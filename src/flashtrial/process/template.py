"""The parent's view of a template process: what it may be asked, and the children that it forked."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from flashtrial.process.channel import Channel, ChannelClosed, socket_pair
from flashtrial.process.environment import Environment
from flashtrial.process.interpreter import start_python
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

if TYPE_CHECKING:
    import subprocess

PRELOAD_DEADLINE_S: Final = 120.0
TEMPLATE_DEADLINE_S: Final = 10.0
_ZYGOTE: Final = "from flashtrial.process.zygote import main; main()"

logger = logging.getLogger(__name__)


class TemplateLost(ConnectionError):
    """Raised when a template process is gone or does not answer; children are spawned or a new one is started."""


class ForkedProcess:
    """A child of a template: the template reaps it and tells how it ended."""

    def __init__(self, template: "Template", pid: int, pidfd: int) -> None:
        self._template = template
        self.pid = pid
        self.pidfd: int | None = pidfd
        self._exit: asyncio.Task[int | None] | None = None
        self._ended = False

    @property
    def is_doomed(self) -> bool:
        return not self._template.is_running

    def signal_leader(self, number: signal.Signals) -> None:
        if self.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

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
        """Start the process, again if it was lost; it is of use at once, since requests wait in its socket."""
        self.stop()
        with self._lock:  # whoever still waits for the lost one is told so first
            self._start()

    def _start(self) -> None:
        ours, theirs = socket_pair()
        with theirs:
            self._popen = start_python(_ZYGOTE, theirs, self._variables)
        ours.settimeout(TEMPLATE_DEADLINE_S)
        self._channel = Channel(ours)
        self._seen.clear()
        self._send(Setup(self._environment.path_strings, {}))

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

    def fork(self, variables: Mapping[str, str]) -> tuple[ForkedProcess, socket.socket]:
        """A new child with `variables` in its environment, and our end of its control socket."""
        ours, theirs = socket_pair()
        try:
            with self._lock, theirs:
                self._send(Fork(dict(variables)), [theirs.fileno()])
                answer, descriptors = self._receive(TEMPLATE_DEADLINE_S)
            if not isinstance(answer, Forked):
                raise ProtocolError(f"expected Forked, got {type(answer).__name__}")
        except BaseException:
            ours.close()
            raise
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
