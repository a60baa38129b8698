"""Layers on disk: directories with installed packages, each complete or absent.

    $FLASHTRIAL_HOME/layers/
        <key>/site/            goes in front of a child's sys.path
        <key>/manifest.json    what it holds
        .<key>.<token>/        being built, or left by a builder that was killed
        .<key>.lock            held by the one builder of that key

A layer is built beside and renamed into place, so that whatever has its final name is whole. Nothing here runs
installers. `find`, `publish`, `sweep` and `discard` touch thousands of files: call them from a thread.
"""

import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flashtrial.core import files
from flashtrial.process.environment import Environment

log = logging.getLogger(__name__)


class Manifest(BaseModel):
    """What a complete layer holds; compiled files, which appear when it is used, are not counted."""

    model_config = ConfigDict(frozen=True)

    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    file_count: int
    size_bytes: int


class Layers:
    """The layers in one directory, shared with other processes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, key: str) -> Environment | None:
        """The layer of that key, when it is there and no smaller than its builder left it. The caller holds its lock.

        A damaged one is put aside, for the next sweep, so that it can be built again.
        """
        place = self._root / key
        if not place.is_dir():
            return None
        manifest = _manifest_of_whole(place)
        if manifest is None:
            log.warning("layer %s is damaged; it will be built again", key, extra={"action": "layer_damaged"})
            place.rename(self._root / f".{key}.{secrets.token_hex(4)}")
            return None
        return Environment(key, (place / "site",), manifest.modules)

    def lock_path(self, key: str) -> Path:
        """The file to lock (`core.files.file_lock`) while building that layer."""
        files.ensure_private_dir(self._root)
        return self._root / f".{key}.lock"

    def new_beside(self, key: str) -> Path:
        """An empty directory in which to build that layer; its ``site`` is for the packages."""
        beside = files.ensure_private_dir(self._root) / f".{key}.{secrets.token_hex(4)}"
        (beside / "site").mkdir(parents=True, mode=files.OWNER_ONLY_DIR)
        return beside

    def publish(self, beside: Path, key: str, requirements: Sequence[str], packages: Sequence[str]) -> Environment:
        """Give what was built in `beside` its manifest and its final name. The caller holds the lock of the key.

        Raises `OSError`, as when the disk is full; then the layer is absent.
        """
        site = beside / "site"
        file_count, size_bytes = _extent(site)
        manifest = Manifest(
            requirements=tuple(requirements),
            packages=tuple(packages),
            modules=tuple(sorted(_modules(site))),
            file_count=file_count,
            size_bytes=size_bytes,
        )
        files.write_atomically(beside / "manifest.json", manifest.model_dump_json(indent=1).encode())
        beside.rename(self._root / key)
        files.sync_dir(self._root)
        return Environment(key, (self._root / key / "site",), manifest.modules)

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


def _manifest_of_whole(place: Path) -> Manifest | None:
    """The manifest of the layer in `place`, when it can be read and nothing of what it tells of is lost.

    More than that may be there: packages write caches beside their code, and others may be using the layer now.
    """
    try:
        manifest = Manifest.model_validate_json((place / "manifest.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    file_count, size_bytes = _extent(place / "site")
    return manifest if file_count >= manifest.file_count and size_bytes >= manifest.size_bytes else None


def discard(directory: Path) -> None:
    """Remove `directory` as far as possible: an installer whose parent was killed may still be writing there."""
    shutil.rmtree(directory, ignore_errors=True)


def _extent(site: Path) -> tuple[int, int]:
    """Number and size in bytes of the files below `site`, compiled ones left out."""
    count = size_bytes = 0
    for folder, folders, names in os.walk(site):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in names:
            count += 1
            size_bytes += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - thousands of them
    return count, size_bytes


def _modules(site: Path) -> Iterator[str]:
    """Names that can be imported from `site`: packages, modules and extension modules at the top."""
    for entry in site.iterdir():
        name = entry.name.partition(".")[0]
        importable = entry.suffix in (".py", ".so") or (entry.is_dir() and "." not in entry.name and name != "bin")
        if importable and name.isidentifier() and not name.startswith("__"):
            yield name
