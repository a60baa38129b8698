"""Ending the instance of a home: asked first, killed after a grace, and not left before it is gone."""

import contextlib
import os
import signal
import time
from pathlib import Path

from flashtrial.cli import instance
from flashtrial.cli.instance import Instance
from flashtrial.core.errors import FlashtrialError

BEGIN_PATIENCE_S = 20.0
KILL_PATIENCE_S = 5.0
_POLL_S = 0.05


class DidNotEnd(FlashtrialError):
    """Raised when an instance is there still after it was killed, or cannot be told to end."""


def stop(home: Path, grace_s: float) -> str:
    """End the instance of `home`, if one lives, and say what was done. Calling twice is safe. Raises `DidNotEnd`."""
    running = _living(home)
    if running is None:
        return f"no instance runs in {home}"
    _signal(running, signal.SIGTERM)
    if _is_gone(home, grace_s):
        return f"stopped the instance at {running.url} (pid {running.pid})"
    _signal(running, signal.SIGKILL)
    if _is_gone(home, KILL_PATIENCE_S):
        return f"killed the instance at {running.url} (pid {running.pid}): it did not stop within {grace_s:g} s"
    raise DidNotEnd(f"pid {running.pid} is there still after SIGKILL")


def _living(home: Path) -> Instance | None:
    """The instance of `home`; one that has only begun is waited for, until it says who it is."""
    deadline = time.monotonic() + BEGIN_PATIENCE_S
    while (running := instance.find(home)) is None and instance.is_claimed(home):
        if time.monotonic() > deadline:
            raise DidNotEnd(f"an instance of {home} has begun and does not get on: end it yourself, and see its log")
        time.sleep(_POLL_S)
    return running


def _signal(running: Instance, number: signal.Signals) -> None:
    # The claim was held a moment ago, so the process id is its holder's and no stranger's.
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, number)


def _is_gone(home: Path, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while instance.is_claimed(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
