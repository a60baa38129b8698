"""Handing a token to a sync process that somebody else started, without a trace on any disk.

    trainer ── one line of JSON ──▶ <outbox>/handover (a named pipe, 0600) ──▶ sync process's memory

Runs inside user processes: standard library only.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from flashtrial.core.files import OWNER_ONLY_FILE

_READ_BYTES = 65536
_MOST_LINE_BYTES = 4096  # POSIX: what is at most this long arrives in one piece


def handover_path(outbox: Path) -> Path:
    return outbox / "handover"


def hand_over(outbox: Path, url: str, token: str, home: str = "") -> bool:
    """Give the sync process of `outbox` the token for the server at `url` (empty: whichever it finds by itself), as
    journals name it whose `home` is this (empty: the sync process's own).

    False when nobody takes it, or when what stands there is no pipe of ours. Never waits.
    """
    line = json.dumps({"url": url, "token": token, "home": home}).encode() + b"\n"
    if len(line) > _MOST_LINE_BYTES:
        return False
    try:
        descriptor = os.open(handover_path(outbox), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # no pipe, or nobody who reads it
        return False
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
            return False
        return os.write(descriptor, line) == len(line)
    except OSError:  # full: the reader is gone or slow, and the next look hands it over again
        return False
    finally:
        os.close(descriptor)


class HandoverPipe:
    """The reading end, the sync process's. Where no pipe can be made nothing is ever handed over."""

    def __init__(self, outbox: Path) -> None:
        self._path = handover_path(outbox)
        self._descriptor = -1
        self._rest = b""

    def open(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            os.mkfifo(self._path, OWNER_ONLY_FILE)
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def take(self) -> Iterator[tuple[str, str, str]]:
        """Address, token and home of each line that has come since."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(BlockingIOError):
            self._rest += os.read(self._descriptor, _READ_BYTES)
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                match json.loads(line):
                    case {"url": str(url), "token": str(token), "home": str(home)}:
                        yield url, token, home
                    case {"url": str(url), "token": str(token)}:  # of a trainer of an earlier version
                        yield url, token, ""
