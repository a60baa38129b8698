"""A folder of files, logged in one call: ``run.log({"checkpoint": Folder("out/step_100")})``.

It is a map of its files by their paths within it, and is logged as maps are: ``checkpoint/model/weights.bin``. Which
files there are is looked up when it is wrapped, their bytes are read when it is logged.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from flashtrial.tracking.media.files import Artifact

logger = logging.getLogger(__name__)

MOST_FILES: Final = 10_000  # beyond it an archive is what anybody wants to download


class Folder(Mapping[str, Artifact]):
    """All files below `path`, by their paths within it, with ``/`` between the parts. `metadata` is kept beside each.

    Links are followed inside the folder. Links that lead out of it are left out, which is said, unless `follow_links`;
    so are devices, sockets and links to nothing. Raises `FileNotFoundError`, `NotADirectoryError`, `PermissionError`
    for what cannot be read, and ValueError for a folder without files or with more than `MOST_FILES`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        caption: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        follow_links: bool = False,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        found = _Walk(self.path, follow_links=follow_links)
        self._files = {name: Artifact(file, caption, metadata) for name, file in found.files()}
        found.say_left_out()
        if not self._files:
            raise ValueError(f"there is no file in the folder {self.path}")

    def __getitem__(self, name: str) -> Artifact:
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r}, {len(self)} files)"


class _Walk:
    """The regular files of a tree, in order of their names; a link that leads back up ends there."""

    def __init__(self, root: Path, *, follow_links: bool) -> None:
        self._root = root
        self._real_root = root.resolve(strict=True)
        self._follows = follow_links
        self._left_out: list[str] = []
        self._count = 0

    def files(self) -> Iterator[tuple[str, Path]]:
        """Raises OSError for a folder that cannot be listed, and ValueError for too many files."""
        yield from self._below(self._root, "", frozenset())

    def say_left_out(self) -> None:
        if self._left_out:
            logger.warning(
                "%d entries of %s are left out, since they lead out of it, to nothing, or are no files: %s",
                len(self._left_out),
                self._root,
                ", ".join(self._left_out[:5]),
                extra={"action": "folder_left_out"},
            )

    def _below(self, folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, Path]]:
        """`above`: the folders on the way here, which links lead back to."""
        status = folder.stat()
        here = status.st_dev, status.st_ino
        if here in above:
            return
        for path in sorted(folder.iterdir()):
            name = f"{prefix}{path.name}"
            kind = self._kind(path)
            if kind == stat.S_IFDIR:
                yield from self._below(path, f"{name}/", above | {here})
            elif kind == stat.S_IFREG:
                self._count += 1
                if self._count > MOST_FILES:
                    raise ValueError(f"{self._root} has more than {MOST_FILES} files: log an archive of it")
                yield name, path
            else:
                self._left_out.append(name)

    def _kind(self, path: Path) -> int:
        """What `path` is to be taken for; 0 for what is left out. Raises OSError for what cannot be looked at."""
        try:
            if path.is_symlink() and not (path.resolve(strict=True).is_relative_to(self._real_root) or self._follows):
                return 0
            return stat.S_IFMT(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError, RuntimeError):  # a link to nothing, or to itself
            return 0
        except OSError as error:
            if error.errno == errno.ELOOP:  # so from Python 3.13 on
                return 0
            raise
