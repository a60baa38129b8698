"""The parent's view of a template process: what it may be asked, and the children that it forked."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from flashtrial.process.channel import Channel, socket_pair
from flashtrial.process.environment import Environment
from flashtrial.process.interpreter import start_python
from flashtrial.process.process_table import exit_code_of_zombie
from flashtrial.process.readiness import until_readable
from flashtrial.protocol.child import (
    AskStatus,
    Command,
    Fork,
    Forked,
    Message,
    NotForked,
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
_BUSY_PATIENCE_S: Final = 0.1
_REAPED_PATIENCE_S: Final = 2.0
_ZYGOTE: Final = "from flashtrial.process.runtime.zygote import main; main()"

_Wanted = tuple[str, tuple[str, ...]]  # a source and the names of the modules that come with it

logger = logging.getLogger(__name__)


class TemplateLost(ConnectionError):
    """Raised when a template process is gone or does not answer; children are spawned or a new one is started."""


class ForkRefused(OSError):
    """Raised when the kernel refused another process: a limit on their number, or memory."""


class ForkedProcess:
    """A child of a template: the template reaps it and tells how it ended."""

    def __init__(self, template: "Template", pid: int, pidfd: int) -> None:
        self._template = template
        self.pid = pid
        self.pidfd: int | None = pidfd
        self._exit_code: int | None = None
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
        if self.pidfd is not None:
            await until_readable(self.pidfd)
            if self._exit_code is None:
                self.signal_group(signal.SIGKILL)
                self._exit_code = await self._told()
        self._ended = True
        return self._exit_code

    async def _told(self) -> int | None:
        """What the template says, or the kernel while the template has no time for us and so has not reaped it yet."""
        told = await asyncio.to_thread(self._template.status_of, self.pid, _BUSY_PATIENCE_S)
        if told is None:
            told = exit_code_of_zombie(self.pid)
        if told is None:  # reaped, so the template knows; it is only busy with others for the moment
            told = await asyncio.to_thread(self._template.status_of, self.pid, _REAPED_PATIENCE_S)
        return told

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class Template:
    """The zygote of one environment, as the parent sees it. Requests block, so they are made in a thread of its own.

    Started by the thread that lives longest (`start` is not for a thread pool): the kernel kills the zygote when the
    thread that made it ends.
    """

    def __init__(self, environment: Environment, variables: Mapping[str, str]) -> None:
        self._environment = environment
        self._variables = variables
        self._lock = threading.Lock()
        self._requests = ThreadPoolExecutor(1, thread_name_prefix=f"template-{environment.key[:8]}")
        self._seen: set[_Wanted] = set()
        self._breaking: set[_Wanted] = set()
        self._popen: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self.unsafe_reason = ""

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start the process, again if it was lost; it is of use at once, since requests wait in its socket."""
        self.stop()
        ours, theirs = socket_pair()
        with theirs:
            self._popen = start_python(_ZYGOTE, theirs, self._variables)
        ours.settimeout(TEMPLATE_DEADLINE_S)
        self._channel = Channel(ours)
        self._seen.clear()
        self._send(Setup(self._environment.path_strings, {}))

    async def child_for(
        self, source: str, local_names: Sequence[str], variables: Mapping[str, str]
    ) -> tuple[ForkedProcess, socket.socket] | None:
        """A new child that has imported what `source` imports, and our end of its control socket.

        `variables` are set in it. None when its forks cannot be trusted, or `source` would break it. Raises
        `TemplateLost`.
        """
        making = self._requests.submit(self._make_child, (source, tuple(local_names)), variables)
        try:
            return await asyncio.wrap_future(making)
        except asyncio.CancelledError:
            making.add_done_callback(_let_go)  # it may be forked already, or in a moment
            raise

    def _make_child(self, wanted: _Wanted, variables: Mapping[str, str]) -> tuple[ForkedProcess, socket.socket] | None:
        with self._lock:
            self._preload(wanted)
            return None if self.unsafe_reason or wanted in self._breaking else self._fork(variables)

    def _preload(self, wanted: _Wanted) -> None:
        """Have the template import what a source imports; nothing when it was asked before."""
        if wanted in self._seen or wanted in self._breaking:
            return
        try:
            answer = self._ask(Preload(*wanted), PRELOAD_DEADLINE_S)
        except TemplateLost:
            self._breaking.add(wanted)
            raise
        if not isinstance(answer, Preloaded):
            raise self._lost(f"expected Preloaded, got {type(answer).__name__}")
        self._seen.add(wanted)
        self.unsafe_reason = self.unsafe_reason or answer.reason
        if answer.modules:
            names = ", ".join(answer.modules)
            logger.debug("imported ahead for environment %s: %s", self._environment.key, names)

    def _fork(self, variables: Mapping[str, str]) -> tuple[ForkedProcess, socket.socket]:
        ours, theirs = socket_pair()
        try:
            with theirs:
                self._send(Fork(dict(variables)), [theirs.fileno()])
                answer, descriptors = self._receive(TEMPLATE_DEADLINE_S)
            if isinstance(answer, NotForked):
                raise ForkRefused(answer.reason)
            if not isinstance(answer, Forked) or len(descriptors) != 1:
                raise self._lost(f"expected Forked, got {type(answer).__name__}")
        except BaseException:
            ours.close()
            raise
        return ForkedProcess(self, answer.pid, descriptors[0]), ours

    def status_of(self, pid: int, patience_s: float) -> int | None:
        """How the forked child `pid`, which is over, ended; None when the template cannot tell, or stays busy."""
        if not self._lock.acquire(timeout=patience_s):
            return None
        try:
            answer = self._ask(AskStatus(pid), TEMPLATE_DEADLINE_S)
        except TemplateLost:
            return None
        finally:
            self._lock.release()
        return answer.exit_code if isinstance(answer, Status) else None

    def stop(self) -> None:
        """End the process, and with it every child it forked. Safe to call twice."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
        if self._channel is not None:
            self._channel.hang_up()  # whoever still waits for an answer is told so, before the number is used again
            with self._lock:
                self._channel.close()

    def close(self) -> None:
        """`stop`, for good."""
        self.stop()
        self._requests.shutdown(wait=False, cancel_futures=True)

    def _ask(self, command: Command, deadline_s: float) -> Message:
        self._send(command)
        return self._receive(deadline_s)[0]

    def _send(self, command: Command, descriptors: Sequence[int] = ()) -> None:
        if self._channel is None or not self.is_running:
            raise TemplateLost(f"the template of environment {self._environment.key} is gone")
        try:
            self._channel.send(command, descriptors)
        except OSError as error:
            raise self._lost(str(error)) from error

    def _receive(self, deadline_s: float) -> tuple[Message, list[int]]:
        assert self._channel is not None
        try:
            self._channel.set_timeout(deadline_s)
            return self._channel.receive()
        except (OSError, ProtocolError) as error:
            raise self._lost(str(error)) from error

    def _lost(self, why: str) -> TemplateLost:
        """Give this process up: whatever it answers from now on is an answer to nothing."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
        return TemplateLost(f"a template process does not answer: {why}")


def _let_go(making: "Future[tuple[ForkedProcess, socket.socket] | None]") -> None:
    """Nobody waits for this child any more: it ends by itself when its socket does."""
    made = None if making.cancelled() or making.exception() else making.result()
    if made is not None:
        process, endpoint = made
        endpoint.close()
        process.close()
