"""The list in an exported directory that says what belongs to it: names, sizes and SHA-256 of its files.

Written last. While an export goes on, or when it was cut off, the list says that it is not whole. Directories without
one, of older exports or of other programs, are read as they are.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import orjson

from flashtrial.core import files
from flashtrial.core.errors import FlashtrialError

LIST_FILE = "export.json"
BLOBS = "blobs"
_FORMAT = 1
_COPY_BYTES = 1024 * 1024


class DamagedExport(FlashtrialError):
    """Raised when what is to be imported is cut, damaged, or was changed since its export. Nothing was taken in."""


class ExportFromTheFuture(FlashtrialError):
    """Raised when a newer flashtrial wrote an export; upgrade flashtrial to import it."""


def open_list(target: Path) -> None:
    """Say in the directory `target` that an export goes on. Raises OSError."""
    _write(target, {"format": _FORMAT, "is_whole": False})


def close_list(target: Path, names: Iterable[str], hashes: Iterable[str]) -> None:
    """Say that the files `names` and the contents `hashes` are all there. Raises OSError."""
    listed = {name: {"size": (target / name).stat().st_size, "sha256": _sha256(target / name)} for name in names}
    _write(target, {"format": _FORMAT, "is_whole": True, "files": listed, "blobs": sorted(hashes)})


def check(source: Path) -> frozenset[str] | None:
    """The names of an export's own files, all of them whole; None in a directory without a list.

    `source` is the directory, or one of its files. Raises `DamagedExport`, `ExportFromTheFuture`, OSError.
    """
    directory = source if source.is_dir() else source.parent
    said = _read(directory / LIST_FILE)
    if said is None or (source.is_file() and source.name not in said["files"]):
        return None
    wanted = said["files"] if source.is_dir() else {source.name: said["files"][source.name]}
    for name, facts in wanted.items():
        _check_file(directory / name, facts)
    for sha256 in said["blobs"] if source.is_dir() else ():
        if not (directory / BLOBS / sha256[:2] / sha256).is_file():
            raise DamagedExport(f"{directory / BLOBS} lacks the content {sha256}: copy or export it again")
    return frozenset(wanted)


def check_contents(blobs: Path) -> list[Path]:
    """The files below `blobs` that are named by their contents. Raises `DamagedExport` where a name is not true."""
    found = [path for path in sorted(blobs.glob("[0-9a-f][0-9a-f]/*")) if len(path.name) == 64 and path.is_file()]
    for path in found:
        if _sha256(path) != path.name:
            raise DamagedExport(f"{path} is not the content that its name says: copy or export it again")
    return found


def copy_content(source: Path, target: Path, sha256: str) -> bool:
    """Copy one content to where a store keeps it; False where it is not (yet) there, or in the target already.

    Only the owner can read the copy, and it is on the disk. Raises OSError.
    """
    here, there = source / sha256[:2] / sha256, target / sha256[:2] / sha256
    if there.exists():
        return False
    partial = there.with_name(f".{sha256}.partial")
    try:
        with here.open("rb") as file:
            files.ensure_private_dir(there.parent)
            _copy_to_disk(file, partial)
        partial.replace(there)
    except FileNotFoundError:  # it never came, or its last run was just removed
        return False
    finally:
        partial.unlink(missing_ok=True)
    files.sync_dir(there.parent)
    return True


def _copy_to_disk(source: IO[bytes], target: Path) -> None:
    """Write all of `source` into the file `target`, which only its owner can read."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, files.OWNER_ONLY_FILE)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, _COPY_BYTES)
        file.flush()
        os.fsync(file.fileno())


def _check_file(path: Path, facts: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise DamagedExport(f"{path} is missing: copy or export it again")
    if path.stat().st_size != facts["size"] or _sha256(path) != facts["sha256"]:
        raise DamagedExport(
            f"{path} is not as it was exported: copy or export it again. To import what was changed on purpose, "
            f"delete {path.with_name(LIST_FILE)}"
        )


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        said = orjson.loads(path.read_bytes())
        number, is_whole = int(said["format"]), bool(said["is_whole"])
        if number == _FORMAT and is_whole:
            listed = {
                str(name): {"size": facts["size"], "sha256": facts["sha256"]} for name, facts in said["files"].items()
            }
            said = {"files": listed, "blobs": [str(sha256) for sha256 in said["blobs"]]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedExport(f"{path} is damaged: copy or export it again") from error
    if number > _FORMAT:
        raise ExportFromTheFuture(f"{path} is of format {number}, this flashtrial knows {_FORMAT}: upgrade flashtrial")
    if not is_whole:
        raise DamagedExport(f"the export in {path.parent} was not finished: export it again")
    assert isinstance(said, dict)
    return said


def _write(target: Path, said: Mapping[str, Any]) -> None:
    files.write_atomically(target / LIST_FILE, orjson.dumps(said, option=orjson.OPT_INDENT_2) + b"\n", mode=0o644)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
