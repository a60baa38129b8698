"""Layers on disk: directories with installed packages, each complete or absent.

    $FLASHTRIAL_HOME/layers/
        <key>/site/            goes in front of a child's sys.path
        <key>/manifest.json    what it holds
        <key>/in-use           locked (shared) by every process that uses it; its time is that of the last use
        .<key>.<token>/        being built or removed, or left by a process that was killed
        .<key>.lock            held by the one builder, finder or remover of that key

A layer is built beside and renamed into place, so that whatever has its final name is whole. Nothing here runs
installers. `find`, `publish`, `adopt`, `remove`, `sweep`, `discard` touch thousands of files: call them from a thread.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from flashtrial.core import files
from flashtrial.process.environment import Environment
from flashtrial.worker.install.layer_manifest import FILE_NAME, Manifest, extent, manifest_of_whole, modules

log = logging.getLogger(__name__)

IN_USE = "in-use"


class LayerHold:
    """Keeps one layer from being removed until `release`, or until this process ends, however it ends."""

    def __init__(self, place: Path) -> None:
        self._descriptor = os.open(place / IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.OWNER_ONLY_FILE)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self.touch()

    def touch(self) -> None:
        """Note that the layer is used now."""
        os.utime(self._descriptor)

    def release(self) -> None:
        """Let the layer be removed. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Layers:
    """The layers in one directory, shared with other processes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, key: str) -> Environment | None:
        """The layer of that key, when it is there and no smaller than its builder left it. The caller holds its lock.

        A damaged one is put aside, for the next sweep, so that it can be built again.
        """
        place = self.place(key)
        if not place.is_dir():
            return None
        manifest = manifest_of_whole(place)
        if manifest is None:
            log.warning("layer %s is damaged; it will be built again", key, extra={"action": "layer_damaged"})
            place.rename(self._aside(key))
            return None
        return self._environment(key, manifest)

    def place(self, key: str) -> Path:
        """Where the layer of that key is, or would be."""
        return self._root / key

    def hold(self, key: str) -> LayerHold:
        """Keep a layer that is there. The caller holds its lock, so that nobody is removing it."""
        return LayerHold(self.place(key))

    def lock_path(self, key: str) -> Path:
        """The file to lock (`core.files.file_lock`) while looking for that layer, building or removing it."""
        files.ensure_private_dir(self._root)
        return self._root / f".{key}.lock"

    def new_beside(self, key: str) -> Path:
        """An empty directory in which to build that layer; its ``site`` is for the packages."""
        files.ensure_private_dir(self._root)
        beside = self._aside(key)
        (beside / "site").mkdir(parents=True, mode=files.OWNER_ONLY_DIR)
        return beside

    def publish(self, beside: Path, key: str, requirements: Sequence[str], packages: Sequence[str]) -> Environment:
        """Give what was built in `beside` its manifest and its final name. The caller holds the lock of the key.

        Raises `OSError`, as when the disk is full; then the layer is absent.
        """
        site = beside / "site"
        file_count, size_bytes = extent(site)
        manifest = Manifest(
            requirements=tuple(requirements),
            packages=tuple(packages),
            modules=tuple(sorted(modules(site))),
            file_count=file_count,
            size_bytes=size_bytes,
        )
        files.write_atomically(beside / FILE_NAME, manifest.model_dump_json(indent=1).encode())
        return self._named(beside, key, manifest)

    def adopt(self, beside: Path, key: str) -> Environment | None:
        """Give a layer that came from elsewhere, manifest and all, its final name; None when it is not whole."""
        manifest = manifest_of_whole(beside)
        return None if manifest is None else self._named(beside, key, manifest)

    def _named(self, beside: Path, key: str, manifest: Manifest) -> Environment:
        beside.rename(self.place(key))
        files.sync_dir(self._root)
        return self._environment(key, manifest)

    def _environment(self, key: str, manifest: Manifest) -> Environment:
        return Environment(key, (self.place(key) / "site",), manifest.modules)

    def keys(self) -> list[str]:
        """The keys of all layers that are there."""
        if not self._root.is_dir():
            return []
        return [path.name for path in self._root.iterdir() if not path.name.startswith(".")]

    def remove(self, key: str) -> bool:
        """Remove a layer that nobody uses; False when somebody does, or is about to."""
        with contextlib.suppress(files.Locked, FileNotFoundError), files.file_lock(self.lock_path(key), wait=False):
            with files.file_lock(self.place(key) / IN_USE, wait=False):
                aside = self._aside(key)
                self.place(key).rename(aside)
            discard(aside)
            return True
        return False

    def sweep(self) -> int:
        """Remove what dead builders left; how many directories. One whose key is being built now is left alone."""
        return sum(self._swept(beside) for beside in list(self._root.glob(".*.*")) if beside.is_dir())

    def _swept(self, beside: Path) -> bool:
        key = beside.name.split(".")[1]
        try:
            with files.file_lock(self.lock_path(key), wait=False):
                discard(beside)
        except files.Locked:
            return False
        log.info("swept %s, left by an installer that was killed", beside.name, extra={"action": "layer_swept"})
        return True

    def _aside(self, key: str) -> Path:
        return self._root / f".{key}.{secrets.token_hex(4)}"


def discard(directory: Path) -> None:
    """Remove `directory` as far as possible: an installer whose parent was killed may still be writing there."""
    shutil.rmtree(directory, ignore_errors=True)
