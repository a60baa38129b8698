"""What a layer says about itself, and whether that is still so. Walks thousands of files: call from a thread."""

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

FILE_NAME = "manifest.json"


class Manifest(BaseModel):
    """What a complete layer holds; compiled files, which appear when it is used, are not counted."""

    model_config = ConfigDict(frozen=True)

    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    file_count: int
    size_bytes: int


def read_manifest(place: Path) -> Manifest | None:
    """What the layer in `place` says it holds; None when it says nothing that can be read."""
    try:
        return Manifest.model_validate_json((place / FILE_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def manifest_of_whole(place: Path) -> Manifest | None:
    """The manifest of the layer in `place`, when it can be read and nothing of what it tells of is lost.

    More than that may be there: packages write caches beside their code, and others may be using the layer now.
    """
    manifest = read_manifest(place)
    if manifest is None:
        return None
    file_count, size_bytes = extent(place / "site")
    return manifest if file_count >= manifest.file_count and size_bytes >= manifest.size_bytes else None


def extent(site: Path) -> tuple[int, int]:
    """Number and size in bytes of the files below `site`, compiled ones left out."""
    count = size_bytes = 0
    for folder, folders, names in os.walk(site):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in names:
            count += 1
            size_bytes += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - thousands of them
    return count, size_bytes


def modules(site: Path) -> Iterator[str]:
    """Names that can be imported from `site`: packages, modules and extension modules at the top."""
    for entry in site.iterdir():
        name = entry.name.partition(".")[0]
        importable = entry.suffix in (".py", ".so") or (entry.is_dir() and "." not in entry.name and name != "bin")
        if importable and name.isidentifier() and not name.startswith("__"):
            yield name
