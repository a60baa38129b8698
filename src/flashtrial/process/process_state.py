"""What a function may change in its process, compared with what it was, and put back.

Comparing first keeps it cheap: nothing is written when nothing changed. Random generators are not put back: they were
seeded freshly at the fork and must never draw the same numbers twice. Runs inside children: standard library only.
"""

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flashtrial.core import env

# Python wraps both to make enum members of numbers, which costs ten times the call itself.
try:
    import _signal as plain_signal  # type: ignore[import-not-found]
except ImportError:  # another Python than CPython
    plain_signal = signal
_handler_of: Final = plain_signal.getsignal
_mask: Final = plain_signal.pthread_sigmask
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGALRM)


@dataclass(frozen=True, slots=True)
class _Part:
    """One thing that code may change: how to read it, how to put it back."""

    read: Callable[[], Any]
    restore: Callable[[Any], None]


class ProcessState:
    """What this process was when the object was made; one thread uses it."""

    def __init__(self) -> None:
        self._was = [(part, part.read()) for part in _PARTS]

    def restore(self) -> bool:
        """Put back what differs; whether the process can be taken for what it was (no threads, no children left)."""
        for part, was in self._was:
            try:
                if part.read() != was:
                    part.restore(was)
            except OSError:  # a working directory that is gone, say
                return False
        return threading.active_count() == 1 and not _has_children()


def is_alone() -> bool:
    """Whether this process has one thread and no children, dead ones included: those are the user's code's to reap."""
    if threading.active_count() > 1 or not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _has_children() -> bool:
    """Whether processes that this one started, or adopted from those, are still there. Reaps the dead ones."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
    return False


def _restore_signals(was: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, was, strict=True):
        if _handler_of(number) != handler:
            signal.signal(number, handler)


def _set_umask(was: int) -> None:
    os.umask(was)


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _restore_path(was: list[str]) -> None:
    sys.path[:] = was


def _logging() -> tuple[int, list[logging.Handler], int]:
    root = logging.getLogger()
    return root.level, list(root.handlers), root.manager.disable


def _restore_logging(was: tuple[int, list[logging.Handler], int]) -> None:
    root = logging.getLogger()
    root.setLevel(was[0])
    root.handlers[:] = was[1]
    logging.disable(was[2])


def _timer_runs() -> bool:
    return signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)


def _stop_timer(_was: bool) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _restore_collector(was: bool) -> None:
    (gc.enable if was else gc.disable)()


def _set_mask(was: set[signal.Signals]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, was)


_PARTS: Final = (
    _Part(env.encoded, env.restore),
    _Part(os.getcwd, os.chdir),
    _Part(lambda: list(sys.path), _restore_path),
    _Part(_umask, _set_umask),
    _Part(sys.getrecursionlimit, sys.setrecursionlimit),
    _Part(lambda: [_handler_of(number) for number in _SIGNALS], _restore_signals),
    _Part(_logging, _restore_logging),
    _Part(lambda: _mask(signal.SIG_BLOCK, ()), _set_mask),
    _Part(_timer_runs, _stop_timer),
    _Part(gc.isenabled, _restore_collector),
    _Part(sys.getprofile, sys.setprofile),
    _Part(sys.gettrace, sys.settrace),
    _Part(socket.getdefaulttimeout, socket.setdefaulttimeout),
)
