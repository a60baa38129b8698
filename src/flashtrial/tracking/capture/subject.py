"""What only the process that runs knows of itself, taken in microseconds when its run is opened."""

import os
import sys
from dataclasses import dataclass
from typing import Final

from flashtrial.tracking.capture.masking import Masks

MAX_ARGUMENTS_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Subject:
    """`command` has its secrets masked; `script` is None at a prompt and for ``python -c``.

    What is no UTF-8 stands as escapes: of a directory with such a name git is not asked.
    """

    command: tuple[str, ...]
    directory: str
    script: str | None
    executable: str
    paths: tuple[str, ...]

    @classmethod
    def of_this_process(cls, masks: Masks) -> "Subject":
        """Takes microseconds."""
        script = getattr(sys.modules.get("__main__"), "__file__", None)
        return cls(
            command=tuple(_bounded(masks.masked_command(sys.orig_argv))),
            directory=_text(_working_directory()),
            script=_text(os.path.abspath(script)) if script else None,  # noqa: PTH100 - text in, text out
            executable=_text(sys.executable),
            paths=tuple(_bounded([path or _working_directory() for path in sys.path])),
        )


def _bounded(arguments: list[str]) -> list[str]:
    """`arguments`, as texts, as far as they are together within `MAX_ARGUMENTS_BYTES`."""
    kept: list[str] = []
    room = MAX_ARGUMENTS_BYTES
    for argument in arguments:
        room -= len(argument.encode("utf-8", "surrogatepass")) + 1
        if room < 0:
            return [*kept, f"[… {len(arguments) - len(kept)} arguments cut …]"]
        kept.append(_text(argument))
    return kept


def _text(said: str) -> str:
    return said.encode("utf-8", "backslashreplace").decode("utf-8")


def _working_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a text is what records hold
    except OSError:  # it is gone
        return "/"
