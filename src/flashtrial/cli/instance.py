"""The running instance of a home directory: who it is, whether it lives, where it answers.

``up.lock`` says whether an instance lives: it holds the lock for its whole life and the kernel lets go when it dies,
so neither a stale file nor a reused process id can pass for it. ``instance.json`` says who and where it is.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flashtrial.cli import probe
from flashtrial.core import files
from flashtrial.core.errors import FlashtrialError

FILE = "instance.json"
LOCK = "up.lock"
# A reader that asks whether the lock is held holds it shared for microseconds; a claim outwaits that.
CLAIM_PATIENCE_S = 0.5


class AlreadyRunning(FlashtrialError):
    """Raised when another process is the instance of this home."""


class NotRunning(FlashtrialError):
    """Raised when no instance runs in this home and the command needs one."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A running `flashtrial up`. `url` is for clients on this machine, without a slash at its end.

    One that `is_leaving` still answers, so that its workers can hand in what they have, but nobody new should begin.
    """

    pid: int
    url: str
    port: int
    started_at_ms: int
    version: str
    runpod: bool = True
    is_leaving: bool = False

    def answers(self) -> bool:
        """Whether the instance says within two seconds that it lives."""
        return probe.get(f"{self.url}/healthz").ok


@contextlib.contextmanager
def claim(home: Path) -> Iterator[None]:
    """Be the instance of `home` for the length of the block; clears what a killed predecessor left.

    Raises `AlreadyRunning` when another process is.
    """
    with _exclusive(home / LOCK):
        (home / FILE).unlink(missing_ok=True)
        try:
            yield
        finally:
            (home / FILE).unlink(missing_ok=True)


def write(home: Path, instance: Instance) -> None:
    """Tell others about `instance`; the caller holds the claim."""
    files.write_atomically(home / FILE, json.dumps(asdict(instance)).encode() + b"\n")


def find(home: Path) -> Instance | None:
    """The living instance of `home`, or None; it may be too young or too busy to answer yet."""
    return _read(home / FILE) if is_claimed(home) else None


def require(home: Path) -> Instance:
    """The living instance of `home`. Raises `NotRunning` when there is none."""
    instance = find(home)
    if instance is None:
        raise NotRunning(f"no instance runs in {home}: start one with `flashtrial up --detach`")
    return instance


def is_claimed(home: Path) -> bool:
    """Whether a process is the instance of `home`, even one that has not written its file yet."""
    try:
        descriptor = os.open(home / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _read(path: Path) -> Instance | None:
    try:
        fields = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    match fields:
        case {
            "pid": int(pid),
            "url": str(url),
            "port": int(port),
            "started_at_ms": int(since),
            "version": str(version),
        }:
            is_leaving = fields.get("is_leaving") is True
            return Instance(pid, url, port, since, version, fields.get("runpod") is not False, is_leaving)
        case _:
            return None


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    deadline = time.monotonic() + CLAIM_PATIENCE_S
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(files.file_lock(path, wait=False))
                break
            except files.Locked:
                if time.monotonic() > deadline:
                    raise AlreadyRunning(f"another process is the instance of {path.parent}") from None
                time.sleep(0.02)
        yield
