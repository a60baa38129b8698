"""Faults counted out: the k-th system call on files of one directory fails, or the k-th request."""

import contextlib
import errno
import sys
from collections.abc import Iterator
from pathlib import Path

_EVENTS = frozenset(
    {"open", "os.rename", "os.link", "os.remove", "os.truncate", "os.scandir", "os.listdir", "os.mkdir", "fcntl.flock"}
)


class Faults:
    """Counts what is done in one directory and lets the k-th fail; armed within `fail` only.

    An audit hook sees each opening, renaming, linking, locking, truncating, listing and removing before it happens.
    """

    def __init__(self) -> None:
        self._directory = ""
        self._left = 0
        self.has_fired = False

    @contextlib.contextmanager
    def fail(self, directory: Path, number: int) -> Iterator[None]:
        """Within the block the `number`-th call that concerns `directory` fails, or the request that is as many-th."""
        self._directory, self._left, self.has_fired = str(directory), number, False
        try:
            yield
        finally:
            self._directory = ""

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._directory and event in _EVENTS and self._concerns(arguments[0]) and self._is_due():
            raise OSError(errno.EIO, "the disk said no")

    def request_fails(self) -> bool:
        """Whether a request that is about to be made, or one that was answered, is the one to fail."""
        return bool(self._directory) and self._is_due()

    def _is_due(self) -> bool:
        self._left -= 1
        self.has_fired = self.has_fired or self._left == 0
        return self._left == 0

    def _concerns(self, what: object) -> bool:
        if isinstance(what, int):
            directory, self._directory = self._directory, ""  # looking it up is no call of theirs
            try:
                return str(Path(f"/proc/self/fd/{what}").readlink()).startswith(directory)
            finally:
                self._directory = directory
        return str(what).startswith(self._directory)


FAULTS = Faults()
sys.addaudithook(FAULTS.hook)  # for the rest of the process; it does nothing while no fault is set
