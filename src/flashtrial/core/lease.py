"""Who writes a name on the network volume, where no lock can be trusted: a file per epoch, made by O_EXCL.

    .<name>.lease.<epoch>     {"owner": …, "expires_at_ms": …}

The holder is who made the file with the highest epoch, until it expires. Two may believe themselves the holder when
their clocks differ or one of them slept: what they do under a lease must be harmless when done twice.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from flashtrial.core import files
from flashtrial.core.clock import Clock
from flashtrial.core.errors import FlashtrialError
from flashtrial.core.ids import new_id


class LeaseLost(FlashtrialError):
    """Raised when somebody else has taken the lease over, since it was not renewed in time."""


@dataclass(frozen=True, slots=True)
class _Note:
    owner: str
    expires_at_ms: int


class Lease:
    """One name on the volume, ours for `ttl_s` seconds after each `renew`. Belongs to one thread."""

    def __init__(self, directory: Path, name: str, epoch: int, clock: Clock, ttl_s: float, owner: str) -> None:  # noqa: PLR0917 - made by `acquire` alone
        self.epoch = epoch
        self._directory = directory
        self._name = name
        self._clock = clock
        self._ttl_s = ttl_s
        self._owner = owner
        self._renewed_at = clock.monotonic()

    @classmethod
    def acquire(cls, directory: Path, name: str, clock: Clock, ttl_s: float, *, owner: str = "") -> "Lease | None":
        """The lease of `name`, taken over where its holder's has expired; None when it is somebody's.

        An `owner` who comes again is not kept waiting by the lease of an earlier life: it must see to it by other means
        that it is one at a time.
        """
        epochs = _epochs(directory, name)
        if epochs and not _is_free(_path(directory, name, epochs[-1]), clock, ttl_s, owner):
            return None
        epoch = epochs[-1] + 1 if epochs else 1
        lease = cls(directory, name, epoch, clock, ttl_s, owner or new_id("lease"))
        if not lease._create():
            return None
        for epoch in epochs:
            _path(directory, name, epoch).unlink(missing_ok=True)
        return lease

    def renew_when_due(self) -> None:
        """Renew the lease when a third of its time has passed. Raises `LeaseLost`; cheap when not due."""
        if self._clock.monotonic() - self._renewed_at < self._ttl_s / 3:
            return
        self.check()
        files.write_atomically(self._path, self._note())
        self._renewed_at = self._clock.monotonic()

    def check(self) -> None:
        """Raises `LeaseLost` when it is somebody else's, or nobody's."""
        note = _read(self._path)
        if note is None or note.owner != self._owner or _epochs(self._directory, self._name)[-1] != self.epoch:
            raise LeaseLost(f"the lease of {self._name} was taken over by another worker")

    def release(self) -> None:
        """Give it back, if it is still ours. Safe to call twice."""
        note = _read(self._path)
        if note is not None and note.owner == self._owner:
            self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return _path(self._directory, self._name, self.epoch)

    def _create(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, files.OWNER_ONLY_FILE)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._note())
        return True

    def _note(self) -> bytes:
        expires_at_ms = self._clock.time_ms() + int(self._ttl_s * 1000)
        return json.dumps(asdict(_Note(self._owner, expires_at_ms))).encode()


def _path(directory: Path, name: str, epoch: int) -> Path:
    return directory / f".{name}.lease.{epoch}"


def _epochs(directory: Path, name: str) -> list[int]:
    suffixes = (path.name.rpartition(".")[2] for path in directory.glob(f".{name}.lease.*"))
    return sorted(int(suffix) for suffix in suffixes if suffix.isdigit())


def _is_free(path: Path, clock: Clock, ttl_s: float, owner: str) -> bool:
    note = _read(path)
    if note is not None:
        return (bool(owner) and note.owner == owner) or note.expires_at_ms <= clock.time_ms()
    try:  # its maker was killed before it had written, or is about to write
        return path.stat().st_mtime * 1000 + ttl_s * 1000 <= clock.time_ms()
    except FileNotFoundError:
        return True


def _read(path: Path) -> _Note | None:
    try:
        fields = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    match fields:
        case {"owner": str(owner), "expires_at_ms": int(expires_at_ms)}:
            return _Note(owner, expires_at_ms)
    return None
