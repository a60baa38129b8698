"""SIGTERM, told to the runs of this process before it has the effect that it would have had anyway.

    SIGTERM ──▶ our handler ─┬─ the program has a handler of its own: the runs are marked here, then it is called
                             └─ it has none: a thread marks the runs and then lets the signal kill the process

A thread in the second case, because the handler may have interrupted the main thread in the middle of a record: what
is written from inside waits for that record, and a process that dies in its handler would take both along. Nothing
waits longer than `PATIENCE_S`. Like every handler in Python ours runs between two steps of the main thread: one that is
inside C code dies when it comes back, or by the SIGKILL that follows.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TypeAlias

PATIENCE_S = 1.0

_Handler: TypeAlias = Callable[[int, FrameType | None], object]


class TermWatch:
    """Calls `mark` in the process's main thread, or on a thread of its own, when SIGTERM comes.

    `mark` is told whether the process is about to die. It must not wait for long, and be safe to call twice.
    """

    def __init__(self, mark: Callable[[bool], None]) -> None:
        self._mark = mark
        self._handler: _Handler | None = None
        self._previous: _Handler | signal.Handlers = signal.SIG_DFL
        self._held: dict[int, Iterable[int]] = {}  # masks of threads that are forking

    def start(self) -> None:
        """Handle SIGTERM from now on, before whoever handles it now. Calling again puts us in front once more.

        Does nothing outside the main thread, where Python allows no handlers, nor in a program that ignores SIGTERM.
        """
        current = signal.getsignal(signal.SIGTERM)
        if current is self._handler or current in (None, signal.SIG_IGN) or not _in_main_thread():
            return
        # A handler of its own for each time: one of the user's that calls ours in turn must never lead back to itself.
        previous: _Handler | signal.Handlers = signal.SIG_DFL if isinstance(current, int) else current
        handler = self._new_handler(previous)
        signal.signal(signal.SIGTERM, handler)
        self._handler, self._previous = handler, previous

    def stop(self) -> None:
        """Put back what was there before, unless somebody else has come since. As `start`, for the main thread."""
        if self._handler is not None and _in_main_thread() and signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, self._previous)
            self._handler = None

    def hold(self) -> None:
        """Before a fork: keep SIGTERM back, which Python would drop in a child that has not settled yet."""
        if self._handler is not None:
            self._held[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release(self) -> None:
        """After a fork, in parent and child: let it come as before. In the child `stop` comes first."""
        mask = self._held.pop(threading.get_ident(), None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _new_handler(self, previous: _Handler | signal.Handlers) -> _Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            if callable(previous):
                self._mark(False)
                previous(number, frame)
            else:
                self._die_marked(number)

        return handle

    def _die_marked(self, number: int) -> None:
        signal.signal(number, signal.SIG_DFL)  # here: only the main thread may, and a second signal then kills at once
        last_words = threading.Thread(target=self._mark_and_die, args=(number,), name="flashtrial-term", daemon=True)
        try:
            last_words.start()
        except RuntimeError:  # no threads any more: the interpreter ends, so nothing of ours is interrupted either
            self._mark_and_die(number)

    def _mark_and_die(self, number: int) -> None:
        try:
            self._mark(True)
        finally:
            os.kill(os.getpid(), number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
