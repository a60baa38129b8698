"""What a function seldom changes in its process and what costs too much to compare after each call: the limits of
resources, the locale, timers, priorities, the user it runs as, threads that `threading` knows nothing of.

Changes are noted by the functions that make them. What can be put back is, then; what cannot costs the process. Not
noticed: changes made in C, past Python's modules. Runs inside children: standard library only.
"""

import _thread
import faulthandler
import functools
import locale
import os
import resource
import signal
import sys
import time
from types import ModuleType
from typing import Any, Final

_SETTERS: Final[tuple[tuple[ModuleType, tuple[str, ...]], ...]] = (
    (resource, ("setrlimit", "prlimit")),
    (locale, ("setlocale",)),
    (signal, ("setitimer",)),
    (sys, ("setswitchinterval",)),
    (time, ("tzset",)),
    (faulthandler, ("dump_traceback_later",)),
)
_FOR_GOOD: Final[tuple[tuple[ModuleType, tuple[str, ...]], ...]] = (
    (os, ("chroot", "unshare", "setns", "nice", "setpriority")),
    (os, ("sched_setaffinity", "sched_setscheduler", "sched_setparam")),
    (os, ("setuid", "setgid", "seteuid", "setegid", "setreuid", "setregid", "setresuid", "setresgid")),
    (os, ("setgroups", "initgroups")),
    (sys, ("addaudithook",)),
    (faulthandler, ("register",)),
    (_thread, ("start_new_thread", "start_new")),  # not counted before it runs; `threading` has its own reference
)
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class SeldomState:
    """What it was when the object was made, of which there is one in a process. One thread restores."""

    def __init__(self) -> None:
        self.is_touched = False
        self._is_lost = ""
        self._locale = locale.setlocale(locale.LC_ALL)
        self._limits = _limits()
        self._switch_s = sys.getswitchinterval()
        for module, names in _SETTERS:
            for name in names:
                self._note(module, name, for_good=False)
        for module, names in _FOR_GOOD:
            for name in names:
                self._note(module, name, for_good=True)

    def restore(self) -> None:
        """Put back what was changed. Raises OSError for what cannot be put back, such as a hard limit or the user."""
        if self._is_lost:
            raise OSError(f"what {self._is_lost}() changed is not put back")
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        faulthandler.cancel_dump_traceback_later()
        sys.setswitchinterval(self._switch_s)
        time.tzset()
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        try:
            for number, was in self._limits.items():
                if resource.getrlimit(number) != was:
                    resource.setrlimit(number, was)
        except ValueError as error:
            raise OSError(f"a limit of this process cannot be put back: {error}") from error
        self.is_touched = False  # restoring touched it again

    def _note(self, module: ModuleType, name: str, *, for_good: bool) -> None:
        """Have the setter `name` of `module`, where it has one, say that it was called."""
        setter = getattr(module, name, None)
        if setter is None:
            return

        @functools.wraps(setter)
        def noted(*arguments: Any, **more: Any) -> Any:
            self.is_touched = True
            if for_good:
                self._is_lost = name
            return setter(*arguments, **more)

        setattr(module, name, noted)


def _limits() -> dict[int, tuple[int, int]]:
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in numbers}
