"""Why the interpreter ends, as far as an exit hook can find out.

An uncaught exception is kept by the interpreter, that of `sys.exit` is not: the status is gone when the hooks run. So
`sys.exit` is wrapped, and so are the `exit` and `quit` that Python gives to every program. What the main thread called
them with counts if nobody caught it. Nobody did when the program's outermost frame ended by an exception: its last
instruction is no return.
"""

import builtins
import opcode
import sys
import threading
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

Status: TypeAlias = str | int | None


class ExitWatch:
    """Knows, at the exit of the interpreter, which exception ended the program."""

    def __init__(self) -> None:
        self._exit: Callable[[Status], NoReturn] = sys.exit
        self._last: tuple[Status, FrameType] | None = None

    def start(self) -> None:
        """Watch the ways to exit from now on, for the rest of this process's life."""
        self._exit = sys.exit
        sys.exit = self._noted_exit
        for name in ("exit", "quit"):
            quitter = getattr(builtins, name, None)  # missing under ``python -S``
            if quitter is not None:
                setattr(builtins, name, _NotedQuitter(quitter, self._note))

    def error(self) -> BaseException | None:
        """What ended the program; None when it came to its end, and at a prompt, where errors end nothing.

        A ``raise SystemExit(…)`` is not noticed: its status is known to nobody any more.
        """
        if hasattr(sys, "ps1"):
            return None
        uncaught: BaseException | None = getattr(sys, "last_value", None)
        if uncaught is not None or self._last is None:
            return uncaught
        status, frame = self._last
        return None if _ended_by_return(frame) else SystemExit(status)

    def _noted_exit(self, status: Status = None, /) -> NoReturn:
        self._note(status)
        self._exit(status)

    def _note(self, status: Status) -> None:
        if threading.current_thread() is threading.main_thread():  # in another one it ends that thread only
            self._last = (status, _outermost_frame())


class _NotedQuitter:
    """`exit` or `quit` as they were, at a prompt too, where their text is what counts."""

    def __init__(self, quitter: "Callable[[Status], NoReturn]", note: "Callable[[Status], None]") -> None:
        self._quitter = quitter
        self._note = note

    def __call__(self, code: Status = None) -> NoReturn:
        self._note(code)
        self._quitter(code)

    def __repr__(self) -> str:
        return repr(self._quitter)


def _outermost_frame() -> "FrameType":
    """The program's own frame. It is there to the end in any case, so that keeping it keeps nothing else alive."""
    frame = sys._getframe()  # noqa: SLF001 - what `inspect` uses, without its import
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def _ended_by_return(frame: "FrameType") -> bool:
    return opcode.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN_")
