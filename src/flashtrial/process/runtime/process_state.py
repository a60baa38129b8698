"""What a function may change in its process, compared with what it was, and put back.

Comparing first keeps it cheap: nothing is written when nothing changed. Random generators are not put back: they were
seeded freshly at the fork and must never draw the same numbers twice. Runs inside children: standard library only.
"""

import _thread
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, Final

from flashtrial.core import env
from flashtrial.process.runtime.seldom_state import SeldomState

# Python wraps both to make enum members of numbers, which costs ten times the call itself.
try:
    import _signal as plain_signal  # type: ignore[import-not-found]
except ImportError:  # another Python than CPython
    plain_signal = signal
_handler_of: Final = plain_signal.getsignal
_mask: Final = plain_signal.pthread_sigmask
_NO_TIMER: Final = (0.0, 0.0)
_SIGNALS: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGALRM),
    *(signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGVTALRM, signal.SIGPROF),
)


class ProcessState:
    """What this process was when the object was made; one thread uses it."""

    def __init__(self) -> None:
        self._was = _now()
        self._seldom = SeldomState()

    def restore(self) -> bool:
        """Put back what differs; whether the process can be taken for what it was (no threads, no children left)."""
        try:
            now = _now()
            if now != self._was:
                for put_back, value, was in zip(_RESTORERS, now, self._was, strict=True):
                    if value != was:
                        put_back(was)
            if self._seldom.is_touched:
                self._seldom.restore()
        except OSError:  # a working directory that is gone, say
            return False
        return _has_one_thread() and not _has_children()


def is_alone() -> bool:
    """Whether this process has one thread and no children, dead ones included: those are the user's code's to reap."""
    if not _has_one_thread() or not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _has_one_thread() -> bool:
    """Whether neither `threading` nor its foundation, which user code may use as well, knows of another thread."""
    return threading.active_count() == 1 and not _thread._count()  # noqa: SLF001


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


def _restore_imports(was: tuple[list[str], list[Any], list[Any]]) -> None:
    sys.argv[:], sys.meta_path[:], sys.path_hooks[:] = was
    sys.path_importer_cache.clear()  # it says that nobody can import from where no hook was found


def _restore_logging(was: tuple[int, list[logging.Handler], int]) -> None:
    root = logging.getLogger()
    root.setLevel(was[0])
    root.handlers[:] = was[1]
    logging.disable(was[2])


def _stop_timer(_was: bool) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _restore_collector(was: bool) -> None:
    (gc.enable if was else gc.disable)()


def _set_mask(was: set[signal.Signals]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, was)


def _restore_hooks(was: tuple[Any, ...]) -> None:
    sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook, warnings.showwarning = was


def _restore_warnings(was: list[Any]) -> None:
    warnings.resetwarnings()  # tells those that remember what the filters said of them
    warnings.filters[:] = was  # type: ignore[index]  # a list, whatever typeshed promises


def _now() -> tuple[Any, ...]:
    """All at once, in the order of `_RESTORERS`: reading part by part takes twice as long."""
    root = logging.root
    return (
        env.encoded(),
        os.getcwd(),  # noqa: PTH109 - a string, as it goes back in
        sys.path[:],
        (sys.argv[:], sys.meta_path[:], sys.path_hooks[:]),
        _umask(),
        sys.getrecursionlimit(),
        [_handler_of(number) for number in _SIGNALS],
        (root.level, root.handlers[:], root.manager.disable),
        _mask(signal.SIG_BLOCK, ()),
        signal.getitimer(signal.ITIMER_REAL) != _NO_TIMER,
        gc.isenabled(),
        sys.getprofile(),
        sys.gettrace(),
        socket.getdefaulttimeout(),
        (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook, warnings.showwarning),
        warnings.filters[:],
    )


_RESTORERS: Final[tuple[Callable[[Any], None], ...]] = (
    env.restore,
    os.chdir,
    _restore_path,
    _restore_imports,
    _set_umask,
    sys.setrecursionlimit,
    _restore_signals,
    _restore_logging,
    _set_mask,
    _stop_timer,
    _restore_collector,
    sys.setprofile,
    sys.settrace,
    socket.setdefaulttimeout,
    _restore_hooks,
    _restore_warnings,
)
