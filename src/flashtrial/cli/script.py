"""The user's script as a child process: its own streams, its own signals, its own exit code.

Without a terminal it simply inherits ours. With one, a live table is drawn below its output; so that the two do not
write over each other, the script's output then comes through a pseudo-terminal and is handed on line by line.
"""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from flashtrial.core.errors import FlashtrialError

# An unfinished line (a prompt) is shown after this long without more of it.
_PROMPT_PATIENCE_S = 0.15
_CHUNK_BYTES = 65536

OnText = Callable[[str], None]


class NoSuchScript(FlashtrialError):
    """Raised when the script to run is no file that can be read."""


def command(script: Path, arguments: Sequence[str]) -> list[str]:
    """How this interpreter runs `script`. Raises `NoSuchScript` when there is none."""
    if not script.is_file():
        kind = "a directory" if script.is_dir() else "missing"
        raise NoSuchScript(f"{script} is {kind}: name the Python script to run")
    return [sys.executable, str(script), *arguments]


def run(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code of `argv`, run on our own streams; 128 + n when signal n ended it."""
    with subprocess.Popen(argv, env=dict(environment)) as child, _signals_go_to(child):
        return _exit_code(child.wait())


def run_on_terminal(argv: Sequence[str], environment: Mapping[str, str], on_text: OnText) -> int:
    """The same, its output given to `on_text` in whole lines as they come; its input stays the terminal."""
    outer, inner = pty.openpty()
    with os.fdopen(outer, "rb", buffering=0), contextlib.ExitStack() as until_started:
        until_started.callback(os.close, inner)
        _copy_window_size(inner)
        _keep_newlines(inner)
        with subprocess.Popen(argv, env=dict(environment), stdout=inner, stderr=inner) as child, _signals_go_to(child):
            until_started.close()  # so that the end of the script is the end of its output
            for text in _lines(outer):
                on_text(text)
            return _exit_code(child.wait())


def _lines(descriptor: int) -> Iterator[str]:
    pending = b""
    while True:
        patience = _PROMPT_PATIENCE_S if pending else None
        if not select.select([descriptor], [], [], patience)[0]:
            yield pending.decode(errors="replace")
            pending = b""
            continue
        chunk = _read(descriptor)
        whole, newline, rest = (pending + chunk).rpartition(b"\n")
        if newline:
            yield whole.decode(errors="replace")
        pending = rest
        if not chunk:
            break
    if pending:
        yield pending.decode(errors="replace")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK_BYTES)
    except OSError:  # Linux answers EIO, not an empty read, when the last process has closed the other end
        return b""


def _copy_window_size(descriptor: int) -> None:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _keep_newlines(descriptor: int) -> None:
    """Hand on what the script wrote: no carriage return in front of each newline."""
    settings = termios.tcgetattr(descriptor)
    settings[1] &= ~termios.ONLCR
    termios.tcsetattr(descriptor, termios.TCSANOW, settings)


@contextlib.contextmanager
def _signals_go_to(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """The script decides what a signal means; we wait for its end.

    A terminal's Ctrl-C reaches the whole foreground group, the script too, so it is handed on only where there is no
    terminal to have done so.
    """
    from_terminal = sys.stdin is not None and sys.stdin.isatty()

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM or not from_terminal:
            child.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode
