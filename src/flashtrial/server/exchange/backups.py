"""Backups of a whole home, while a server runs or not."""

import contextlib
from pathlib import Path

from flashtrial.core import files, sqlite
from flashtrial.core.errors import FlashtrialError
from flashtrial.server.exchange.archive import copy_content
from flashtrial.server.neighbours.ledger import ledger_beside
from flashtrial.server.settings import ServerSettings


class NothingToBackUp(FlashtrialError):
    """Raised when a home has no database yet."""


class NoPlaceForBackup(FlashtrialError):
    """Raised when a backup is to go where none can be: into the home itself, or over a directory."""


def back_up(settings: ServerSettings, target: Path) -> int:
    """Copy the database into the file `target`, what the neighbours' protocols keep beside it into
    ``<target>.neighbours``, and the contents of files into ``<target>.blobs``; how many of those.

    A running server goes on meanwhile; what it stores during the copying is in it, or is not. Raises
    `NothingToBackUp`, `NoPlaceForBackup` and OSError.
    """
    if not settings.db_path.exists():
        raise NothingToBackUp(f"there is no database in {settings.home} yet")
    _check_place(settings, target)
    beside = target.with_name(target.name + ".blobs")
    # Before the database, so that what a removal takes away meanwhile is there, and after it, for what came meanwhile.
    copied = _copy_contents(settings.blobs_dir, beside)
    _copy_database(settings.db_path, target)
    ledger = ledger_beside(settings.db_path)
    if ledger.exists():  # after the database: a number that the ledger gave to a line must not be given again
        _copy_database(ledger, target.with_name(target.name + ".neighbours"))
    return copied + _copy_contents(settings.blobs_dir, beside)


def _check_place(settings: ServerSettings, target: Path) -> None:
    """Make the directory of `target`, where a copy harms nothing."""
    files.ensure_private_dir(target.absolute().parent)
    if target.is_dir():
        raise NoPlaceForBackup(f"{target} is a directory: name the file that the database goes to")
    if target.resolve().is_relative_to(settings.home.resolve()):
        raise NoPlaceForBackup(f"{target} lies in the home that is backed up: name a place outside of {settings.home}")


def _copy_contents(blobs: Path, target: Path) -> int:
    names = [path.name for path in blobs.glob("[0-9a-f][0-9a-f]/*")]
    return sum(copy_content(blobs, target, name) for name in names)


def _copy_database(path: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite.connect(path, read_only=True)) as source,
        contextlib.closing(sqlite.connect(partial)) as copy,
    ):
        copy.execute("PRAGMA synchronous = FULL")
        # In one step: a commit between two would make it begin again; in WAL it keeps nobody waiting.
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
    partial.replace(target)
    files.sync_dir(target.absolute().parent)
