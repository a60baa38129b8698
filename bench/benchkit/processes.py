"""Processes of others, run to their end with everything that they leave behind."""

import contextlib
import ctypes
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


class PeerFailed(Exception):
    """A process of the benchmark did not end well, or not in time."""


@contextlib.contextmanager
def adopting(linger_s: float = 0.0) -> Iterator[None]:
    """Inside, orphans of what is started become our children, sessions of their own included; at the end they have
    `linger_s` to end by themselves, then they are killed and reaped. What ran before is left alone.
    """
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        end_new(before, linger_s)
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def end_new(before: set[int], linger_s: float) -> None:
    """End the descendants that are not in `before`, until none is left: killing one may hand us its children."""
    psutil.wait_procs(new_descendants(before), timeout=linger_s)
    deadline = time.monotonic() + 10
    while (left := new_descendants(before)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=5)


def new_descendants(before: set[int]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.pid not in before]


def run(
    command: Sequence[object],
    variables: Mapping[str, str],
    directory: Path,
    timeout_s: float,
    linger_s: float = 0.0,
) -> int:
    """The exit status of `command`, run in `directory`; what it says is in `directory`/said.

    Raises `PeerFailed` when it takes longer. Nothing that it started is left.
    """
    with adopting(linger_s), (directory / "said").open("wb") as said:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=directory,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise PeerFailed(f"not done after {timeout_s:.0f} s") from error
