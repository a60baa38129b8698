"""Starting the sync process of an outbox, and other processes of ours, from processes that must not wait for them.

    starter ── /bin/sh (a new session; ends at once) ── python -m flashtrial.tracking.sending.sync_main

The shell in between makes the sync process nobody's child: it never becomes a zombie of a trainer, and a trainer that
waits for all its children does not wait for it. Runs inside user processes: standard library only.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import flashtrial
from flashtrial.core import env
from flashtrial.core.files import OWNER_ONLY_FILE, ensure_private_dir
from flashtrial.tracking.journal.outbox import interest_path, is_locked, lock_path
from flashtrial.tracking.settings.resolution import DEFAULT_HOME

MAX_LOG_BYTES = 4 * 1024 * 1024
START_TIMEOUT_S = 10.0

_INSTALLED = frozenset({"site-packages", "dist-packages"})
# Everything that varies is an argument, so that nothing is ever quoted. $0 is the log.
_SCRIPT = '"$@" </dev/null >>"$0" 2>&1 & echo $!'


def ensure_sync_process(outbox: Path, environment: Mapping[str, str]) -> int | None:
    """Start the sync process of `outbox` unless one holds its lock; the pid of the started process, else None.

    `environment` is the process's own: it finds FLASHTRIAL_HOME, FLASHTRIAL_URL and FLASHTRIAL_TOKEN there. Takes
    10 µs when one runs, and a few milliseconds when not. Of two processes that start one at once, one sync process
    stays. Raises OSError or `subprocess.SubprocessError` when none can be started.
    """
    if is_locked(lock_path(outbox), shared=False):
        return None
    return start_detached("flashtrial.tracking.sending.sync_main", ["--outbox", str(outbox)], environment, "sync.log")


def start_detached(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], log_name: str, pass_fds: Sequence[int] = ()
) -> int:
    """Run `module` in a process that is nobody's child and in a session that is not ours; its pid.

    It has the descriptors `pass_fds` under their own numbers, and ``logs/`` `log_name` of the home as its output.
    Takes a few milliseconds. Raises OSError or `subprocess.SubprocessError`.
    """
    shell = subprocess.run(
        [
            "/bin/sh",
            "-c",
            _SCRIPT,
            str(_log_path(environment, log_name)),
            sys.executable,
            "-P",
            "-m",
            module,
            *arguments,
        ],
        cwd="/",
        env=_with_our_package(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        timeout=START_TIMEOUT_S,
        check=True,
        pass_fds=pass_fds,
    )
    return int(shell.stdout)


@contextlib.contextmanager
def hold_outbox_open(outbox: Path) -> Iterator[None]:
    """While the block runs, the sync process of `outbox` stays even when no writer is there.

    For a worker, whose children write and may not start one. It starts none: call `ensure_sync_process` as well.
    """
    descriptor = os.open(
        interest_path(ensure_private_dir(outbox)), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY_FILE
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _log_path(environment: Mapping[str, str], name: str) -> Path:
    """The log, set aside first when it has grown large; nowhere when it cannot be written: sending is what counts."""
    home = Path(environment.get(env.HOME) or DEFAULT_HOME).expanduser().absolute()
    try:
        path = ensure_private_dir(home / "logs") / name
        with path.open("ab") as log:
            if log.tell() > MAX_LOG_BYTES:
                path.replace(path.with_name(f"{name}.1"))
    except OSError:
        return Path(os.devnull)
    return path


def _with_our_package(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` in which flashtrial is found from any directory.

    An installed one is found anyway; its directory must not come before the standard library, as PYTHONPATH does.
    """
    root = Path(flashtrial.__file__).resolve().parent.parent
    if root.name in _INSTALLED:
        return dict(environment)
    entries = [*environment.get("PYTHONPATH", "").split(os.pathsep), str(root)]
    return {**environment, "PYTHONPATH": os.pathsep.join(entry for entry in entries if entry)}
