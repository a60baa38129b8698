"""What git says of the code that runs: commit, branch, remote, and what is not committed.

Asks the `git` of the machine, which may be absent or slow; each question has a time limit. Nothing in the repository
runs code of its own for us: no hooks, no external diff, no file-system monitor, no prompt. Never called in a user's
process, whose `os.wait` would be given our children.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.capture.masking import Masks

QUESTION_TIMEOUT_S: Final = 5.0
MAX_DIFF_BYTES: Final = 128 * 1024

_QUIET: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "LC_ALL": "C"}
_SAFE: Final = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "diff.external=")


def git_state(directory: Path, environment: Mapping[str, str], masks: Masks) -> dict[str, JsonValue] | None:
    """The state of the repository that `directory` is in; None outside of one and where there is no git.

    ``diff`` is against the commit, without files that git does not track, and cut at `MAX_DIFF_BYTES`.
    """

    def ask(*arguments: str) -> bytes | None:
        return _answer(directory, environment, arguments)

    commit = _line(ask("rev-parse", "HEAD"))
    if commit is None:
        return None
    status, diff = ask("status", "--porcelain"), ask("diff", "--no-ext-diff", "--no-textconv", "HEAD") or b""
    remote = _line(ask("config", "--get", "remote.origin.url"))
    return {
        "commit": commit,
        "branch": _line(ask("symbolic-ref", "--short", "-q", "HEAD")),
        "dirty": None if status is None else bool(status),
        "remote": masks.masked(remote) if remote else None,
        "root": _line(ask("rev-parse", "--show-toplevel")),
        "diff": masks.masked(diff[:MAX_DIFF_BYTES].decode("utf-8", "backslashreplace")),
        "diff_cut_bytes": max(len(diff) - MAX_DIFF_BYTES, 0),
    }


def _answer(directory: Path, environment: Mapping[str, str], arguments: tuple[str, ...]) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments],
            cwd=directory,
            env={**environment, **_QUIET},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=QUESTION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _line(answer: bytes | None) -> str | None:
    return (answer or b"").decode("utf-8", "backslashreplace").strip() or None
