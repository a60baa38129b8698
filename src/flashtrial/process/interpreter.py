"""Fresh Python interpreters for our own programs, and the processes they are."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

from flashtrial.process.readiness import until_readable


def start_python(program: str, endpoint: socket.socket, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Run `program` in a session of its own; `endpoint` is its last argument, by number. Its output is our log."""
    # -P: the worker's current directory is the user's, and must not shadow the standard library
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program, str(endpoint.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=2,
        env=dict(variables),
        pass_fds=(endpoint.fileno(),),
        start_new_session=True,
    )


class SpawnedProcess:
    """A child that is our own: we wait for it ourselves."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid
        self.pidfd: int | None = os.pidfd_open(popen.pid) if hasattr(os, "pidfd_open") else None

    @property
    def is_doomed(self) -> bool:
        return self._popen.returncode is not None

    def signal_leader(self, number: signal.Signals) -> None:
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)  # Popen's own way would reap it, and its group be out of reach

    def signal_group(self, number: signal.Signals) -> None:
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def exit_code(self) -> int | None:
        if self.pidfd is not None:
            await until_readable(self.pidfd)
        elif self._popen.returncode is None:
            with contextlib.suppress(ChildProcessError):  # another waiter was quicker
                await asyncio.to_thread(os.waitid, os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        # the dead leader is not reaped yet, so its number cannot be another's: end what it left in its session
        self.signal_group(signal.SIGKILL)
        return self._popen.wait()

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
