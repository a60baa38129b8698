"""Programs that are imported once more, as `multiprocessing` does in each child that it spawns.

An `init` at the top level of such a program must not open a second run there: the child joins the one that its parent
opened at that place. The parent says which in a variable of its environment, by the order of opening.

    parent: init() ── FLASHTRIAL_OPENED_RUNS="<run>:<opened at, ms> …" ──▶ child, importing: init() → the same run
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from flashtrial.core import env
from flashtrial.tracking.journal.writer import RunWriter

MOST_NOTED = 8  # a program's top level opens one, and the environment is not the place for a sweep

_joined = 0  # how often the program that is being imported has called `init`
_noted: list[str] = []  # by this process, as the variable has it


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run that the parent opened, and when, in milliseconds since the epoch."""

    run_id: str
    opened_ms: int


class ReplayWriter(RunWriter):
    """A writer in such a child: what the program logs while it is imported, its parent has logged already."""

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        if not is_importing_main():
            super().append(kind, body)


def is_importing_main() -> bool:
    """Whether this is a child that imports its parent's program, and has not begun its own work yet."""
    process = _multiprocessing()
    # What multiprocessing itself asks before it lets such a child start processes.
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def next_opened() -> OpenedRun | None:
    """The run that the parent opened where the import is now; None when it had opened none."""
    global _joined  # noqa: PLW0603 - an import happens once, in one thread
    opened = [_parse(word) for word in env.get(env.OPENED_RUNS).split()]
    _joined += 1
    return opened[min(_joined, len(opened)) - 1] if opened else None


def note_opened(run: OpenedRun) -> None:
    """Let children of this process know that it opened `run`. Children note nothing: it is not their program."""
    process = _multiprocessing()
    if len(_noted) < MOST_NOTED and (process is None or process.parent_process() is None):
        _noted.append(f"{quote(run.run_id, safe='')}:{run.opened_ms}")
        env.set_all({env.OPENED_RUNS: " ".join(_noted)})


def _parse(word: str) -> OpenedRun:
    run_id, _, opened_ms = word.rpartition(":")
    return OpenedRun(unquote(run_id), int(opened_ms))


def _multiprocessing() -> Any:
    """`multiprocessing.process`, where anybody uses it."""
    return sys.modules.get("multiprocessing.process")
