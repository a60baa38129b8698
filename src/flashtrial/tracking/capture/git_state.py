"""What git says of the code that runs: commit, branch, remote, and what is not committed.

Asks the `git` of the machine, which may be absent or slow; all questions together have a time limit, and an answer is
kept only as far as anybody wants it. Nothing in the repository runs code of its own for us: no hooks, no external diff,
no file-system monitor, no prompt. Never called in a user's process, whose `os.wait` would be given our children.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.capture.masking import Masks

PATIENCE_S: Final = 10.0
MAX_DIFF_BYTES: Final = 128 * 1024
MARGIN_BYTES: Final = 4 * 1024  # beyond the cut, so that a secret that lies across it is whole when it is masked
MAX_READ_BYTES: Final = 64 * 1024 * 1024  # what is longer is not counted to its end

_QUIET: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "LC_ALL": "C"}
_SETTINGS: Final = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "diff.external=", "diff.relative=false")
_SAFE: Final = tuple(word for setting in _SETTINGS for word in ("-c", setting))
_DIFF: Final = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
_CHUNK_BYTES: Final = 64 * 1024
_LAST_LOOK_S: Final = 0.5


def git_state(
    directory: Path, environment: Mapping[str, str], masks: Masks, patience_s: float = PATIENCE_S
) -> dict[str, JsonValue] | None:
    """The state of the repository that `directory` is in; None outside of one and where there is no git.

    ``diff`` is against the commit, without files that git does not track, and cut at `MAX_DIFF_BYTES`;
    ``diff_cut_bytes`` is how much more there is, at least. What git does not say within `patience_s` is None.
    """
    repository = _Repository(directory, environment, time.monotonic() + patience_s)
    commit = repository.line("rev-parse", "HEAD")
    if commit is None:
        return None
    remote = repository.line("config", "--get", "remote.origin.url")
    return {
        "commit": commit,
        "branch": repository.line("symbolic-ref", "--short", "-q", "HEAD"),
        "remote": masks.masked(remote) if remote else None,
        "root": repository.line("rev-parse", "--show-toplevel"),
        "dirty": _is_dirty(repository.ask("status", "--porcelain")),
        **_diff(repository.ask(*_DIFF), masks),
    }


def _is_dirty(status: "_Answer | None") -> bool | None:
    return bool(status.data) if status is not None and (status.data or status.is_whole) else None


def _diff(answer: "_Answer | None", masks: Masks) -> dict[str, JsonValue]:
    if answer is None or not (answer.data or answer.is_whole):
        return {"diff": None, "diff_cut_bytes": 0}
    shown = masks.masked(answer.data.decode("utf-8", "backslashreplace")).encode()
    if not answer.is_all:  # where the data ends, there may be half a secret
        shown = shown[:-MARGIN_BYTES]
        if not shown:
            return {"diff": None, "diff_cut_bytes": 0}
    kept = shown if answer.size_bytes <= MAX_DIFF_BYTES else shown[:MAX_DIFF_BYTES]
    cut_bytes = max(answer.size_bytes - MAX_DIFF_BYTES, 0 if answer.is_all else MARGIN_BYTES)
    return {"diff": kept.decode("utf-8", "ignore"), "diff_cut_bytes": cut_bytes}


@dataclass(frozen=True, slots=True)
class _Answer:
    """`data` is the beginning of what git wrote, `size_bytes` the length of all that was read."""

    data: bytes
    size_bytes: int
    is_whole: bool

    @property
    def is_all(self) -> bool:
        """Whether `data` is all that git had to say."""
        return self.is_whole and len(self.data) == self.size_bytes


@dataclass(frozen=True, slots=True)
class _Repository:
    """Questions about the repository around a directory, until `ends_at` of the monotonic clock."""

    directory: Path
    environment: Mapping[str, str]
    ends_at: float

    def line(self, *arguments: str) -> str | None:
        answer = self.ask(*arguments)
        said = answer.data.decode("utf-8", "backslashreplace").strip() if answer and answer.is_whole else ""
        return said or None

    def ask(self, *arguments: str) -> _Answer | None:
        """None where git is not there or says no."""
        try:
            git = self._start(arguments)
        except OSError:
            return None
        with git:
            assert git.stdout is not None
            try:
                answer = _read(git.stdout.fileno(), self.ends_at)
                return None if answer.is_whole and git.wait(_LAST_LOOK_S) else answer
            except subprocess.TimeoutExpired:
                return None
            finally:
                if git.poll() is None:
                    os.killpg(git.pid, signal.SIGKILL)

    def _start(self, arguments: tuple[str, ...]) -> "subprocess.Popen[bytes]":
        """In a session of its own, so that what it starts ends with it."""
        return subprocess.Popen(
            ["git", *_SAFE, *arguments],
            cwd=self.directory,
            env={**self.environment, **_QUIET},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _read(descriptor: int, ends_at: float) -> _Answer:
    """What comes from `descriptor` until its end, or as far as there is time and sense in reading on."""
    kept, size_bytes = bytearray(), 0
    while size_bytes < MAX_READ_BYTES and (left_s := ends_at - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left_s)[0]:
            break
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            return _Answer(bytes(kept), size_bytes, is_whole=True)
        kept += chunk[: MAX_DIFF_BYTES + MARGIN_BYTES - len(kept)]
        size_bytes += len(chunk)
    return _Answer(bytes(kept), size_bytes, is_whole=False)
