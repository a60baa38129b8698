"""Imports on a thread of ours that no fork may fall into.

A child that is forked while a thread is in the middle of an import inherits that module's lock without the thread that
would let go of it: its own import of the module would wait for ever. So a fork waits for the import to end, which takes
some tens of milliseconds, once. Standard library only.
"""

import importlib
import os
import sys
import threading
from types import ModuleType
from typing import Final

FORK_PATIENCE_S: Final = 5.0


class ForkGate:
    """Held while something is going on that must not be half done in the child of a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_hooked = False
        self._is_held_by_fork = False

    def __enter__(self) -> None:
        if not self._is_hooked:
            self._is_hooked = True
            os.register_at_fork(before=self._before, after_in_parent=self._let_go, after_in_child=self._renew)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _before(self) -> None:
        # a fork that waits for ever would be worse than the one that this is for
        self._is_held_by_fork = self._lock.acquire(timeout=FORK_PATIENCE_S)

    def _let_go(self) -> None:
        if self._is_held_by_fork:
            self._is_held_by_fork = False
            self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._is_held_by_fork = False


_gate = ForkGate()


def imported(name: str) -> ModuleType | None:
    """The module `name`, imported now if need be; None where it is not installed."""
    if name in sys.modules:
        return sys.modules[name]
    with _gate:
        try:
            return importlib.import_module(name)
        except ImportError:
            return None
