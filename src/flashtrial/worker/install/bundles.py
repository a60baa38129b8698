"""Directories kept on a network volume as one tar and a manifest each: complete or absent, checked by their hash.

    <root>/<name>/{content.tar, manifest.json}
    <root>/.<name>.<token>/           being written, or left by a writer that died
    <root>/.<name>.lease.<epoch>      see `lease`

A bundle is named by what it holds, so it is never changed: whoever finds the name there is done. Everything here blocks
for as long as the volume takes: call it from a thread.
"""

import hashlib
import logging
import os
import secrets
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from flashtrial.core import files
from flashtrial.core.clock import Clock
from flashtrial.core.errors import FlashtrialError
from flashtrial.worker.constants import LEASE_S
from flashtrial.worker.install.lease import Lease, LeaseLost

log = logging.getLogger(__name__)

Member = tuple[Path, str]
"""A file, directory or symbolic link, and its name in the bundle."""

_CHUNK_BYTES = 1024 * 1024


class BundleManifest(BaseModel):
    """What the tar beside it must be."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    sha256: str


class BundleDamaged(FlashtrialError):
    """Raised when a bundle on the volume is not what its manifest says; what was unpacked of it is worth nothing."""


class Stopped(FlashtrialError):
    """Raised when the work on a bundle was ended early, as asked."""


class Bundles:
    """The bundles in one directory of the volume, written by many workers at once."""

    def __init__(self, root: Path, clock: Clock, ttl_s: float = LEASE_S) -> None:
        self._root = root
        self._clock = clock
        self._ttl_s = ttl_s
        self._damaged: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether there is such a bundle, as far as we know not a damaged one."""
        return name not in self._damaged and (self._root / name / "manifest.json").is_file()

    def names(self) -> list[str]:
        """The names of all bundles that are there."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if not path.name.startswith("."))

    def unpack(self, name: str, target: Path, stop: threading.Event) -> bool:
        """Fill `target` with what the bundle holds; False when there is none.

        Raises `BundleDamaged`, `Stopped` when `stop` is set meanwhile, and `OSError` when the disk is full or the
        volume cannot be read; then `target` holds anything.
        """
        if not (self._root / name / "manifest.json").is_file():
            return False
        try:
            manifest = BundleManifest.model_validate_json((self._root / name / "manifest.json").read_bytes())
            _unpack(self._root / name / "content.tar", manifest, target, stop)
        except (ValidationError, FileNotFoundError, tarfile.TarError, BundleDamaged) as error:
            self._damaged.add(name)
            raise BundleDamaged(f"the copy of {name} on the volume is damaged: {error}") from error
        return True

    def publish(
        self,
        name: str,
        members: Callable[[], Iterable[Member]],
        stop: threading.Event,
        is_good: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Put a bundle there, if it is not, and nobody else is at it; whether we did.

        `is_good` is asked when all is written: a False leaves the name absent. Raises `OSError` when the volume is
        full or gone, and `Stopped`; whatever happens, a whole bundle of that name stays.
        """
        if self.has(name):
            return False
        lease = Lease.acquire(files.ensure_private_dir(self._root), name, self._clock, self._ttl_s)
        if lease is None:
            return False
        try:
            self._sweep(name)
            return self._write(name, members(), lease, stop, is_good)
        except LeaseLost as lost:
            log.info("%s; leaving it to them", lost, extra={"action": "lease_lost"})
            return False
        finally:
            lease.release()

    def _write(
        self, name: str, members: Iterable[Member], lease: Lease, stop: threading.Event, is_good: Callable[[], bool]
    ) -> bool:
        beside = self._aside(name)
        beside.mkdir(mode=files.OWNER_ONLY_DIR)
        try:
            manifest = _pack(members, beside / "content.tar", lambda: _go_on(lease, stop))
            if not is_good():
                return False
            (beside / "manifest.json").write_bytes(manifest.model_dump_json().encode())
            files.sync_dir(beside)
            return self._name(beside, name, lease)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _name(self, beside: Path, name: str, lease: Lease) -> bool:
        """Rename into place; a damaged bundle of that name makes room only now."""
        lease.check()
        place = self._root / name
        if place.exists():
            if self.is_whole(name):
                self._damaged.discard(name)
                return False
            place.rename(self._aside(name))
        try:
            beside.rename(place)
        except OSError:
            if self.has(name):  # another was quicker
                return False
            raise
        files.sync_dir(self._root)
        self._damaged.discard(name)
        self._sweep(name)
        return True

    def is_whole(self, name: str) -> bool:
        """Whether there is such a bundle and its tar has the hash that it should have; reads all of it."""
        place = self._root / name
        try:
            manifest = BundleManifest.model_validate_json((place / "manifest.json").read_bytes())
            with (place / "content.tar").open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == manifest.sha256
        except (FileNotFoundError, ValidationError):
            return False

    def _sweep(self, name: str) -> None:
        """Remove what dead writers of `name` left. The caller has its lease: a living one has lost its own."""
        for left in self._root.glob(f".{name}.*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)

    def _aside(self, name: str) -> Path:
        return self._root / f".{name}.{secrets.token_hex(4)}"


def files_below(root: Path, prefix: str, leave_out: frozenset[str] = frozenset({"__pycache__"})) -> Iterator[Member]:
    """Everything below `root`, under `prefix`, in a fixed order, without directories of the names `leave_out`."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - leave_out)
        here = Path(folder)
        linked = [name for name in folders if (here / name).is_symlink()]
        for name in sorted(names) + linked:
            yield here / name, f"{prefix}/{(here / name).relative_to(root)}"


def _go_on(lease: Lease, stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped("the publication was ended before it was done")
    lease.renew_when_due()


def _pack(members: Iterable[Member], path: Path, go_on: Callable[[], None]) -> BundleManifest:
    with path.open("xb") as file:
        writer = _HashingWriter(file, go_on)
        with tarfile.open(fileobj=writer, mode="w|", bufsize=_CHUNK_BYTES) as tar:  # type: ignore[call-overload]
            for source, name in members:
                tar.add(source, name, recursive=False)
        file.flush()
        os.fsync(file.fileno())
    return BundleManifest(size_bytes=writer.size_bytes, sha256=writer.digest.hexdigest())


def _unpack(path: Path, manifest: BundleManifest, target: Path, stop: threading.Event) -> None:
    with path.open("rb") as file:
        reader = _HashingReader(file, stop)
        with tarfile.open(fileobj=reader, mode="r|", bufsize=_CHUNK_BYTES) as tar:  # type: ignore[call-overload]
            tar.extractall(target, filter="data")
        while reader.read(_CHUNK_BYTES):
            pass
    if (reader.size_bytes, reader.digest.hexdigest()) != (manifest.size_bytes, manifest.sha256):
        raise BundleDamaged("its hash is not that of its manifest")


class _HashingWriter:
    """A file to tarfile that can only be written, and counts and hashes what is."""

    def __init__(self, file: IO[bytes], go_on: Callable[[], None]) -> None:
        self._file = file
        self._go_on = go_on
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self._go_on()
        self.digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)


class _HashingReader:
    """A file to tarfile that can only be read, and counts and hashes what is."""

    def __init__(self, file: IO[bytes], stop: threading.Event) -> None:
        self._file = file
        self._stop = stop
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int) -> bytes:
        if self._stop.is_set():
            raise Stopped("unpacking was ended before it was done")
        data = self._file.read(size)
        self.digest.update(data)
        self.size_bytes += len(data)
        return data
