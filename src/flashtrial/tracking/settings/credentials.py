"""What `login` keeps: for each server's address a token, in the system's keyring or in a file of mode 0600.

``credentials.json`` in the home: ``{"url": the last login's, "tokens": {url: token, or null: the keyring has it}}``.
The keyring is asked by those only who are about to send (`from_keyring`): it may be slow, or ask the user something.
"""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from flashtrial.core.files import ensure_private_dir, file_lock, write_atomically

_SERVICE = "flashtrial"
FILE_NAME = "credentials.json"


class Keeper(StrEnum):
    """Where a token is."""

    KEYRING = "keyring"
    FILE = "file"

    @property
    def words(self) -> str:
        return "the system's keyring" if self is Keeper.KEYRING else f"a file that only you can read ({FILE_NAME})"


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that is kept in one home. A token that is None is the keyring's."""

    url: str | None
    tokens: Mapping[str, str | None]

    @classmethod
    def read(cls, home: Path) -> "Credentials":
        """Empty where there is nothing, or nothing that can be read."""
        try:
            fields = json.loads((home / FILE_NAME).read_bytes())
        except (OSError, ValueError):
            return cls(None, {})
        match fields:
            case {"url": str() | None as url, "tokens": dict(tokens)}:
                kept = {name: token for name, token in tokens.items() if isinstance(token, str | None)}
                return cls(url, kept)
        return cls(None, {})

    def write(self, home: Path) -> None:
        fields = {"url": self.url, "tokens": dict(self.tokens)}
        write_atomically(home / FILE_NAME, json.dumps(fields, indent=1).encode())

    def token_for(self, url: str, *, from_keyring: bool) -> str | None:
        """The token that was given for `url`."""
        if url not in self.tokens:
            return None
        return self.tokens[url] or (_ask_keyring(url) if from_keyring else None)


def keep(home: Path, url: str, token: str, *, use_keyring: bool = True) -> Keeper:
    """Keep `token` for `url`, which becomes the address that runs go to; where it was put."""
    url = url.rstrip("/")
    is_in_keyring = use_keyring and _tell_keyring(url, token)
    with file_lock(ensure_private_dir(home) / f".{FILE_NAME}.lock"):
        known = Credentials.read(home)
        replace(known, url=url, tokens={**known.tokens, url: None if is_in_keyring else token}).write(home)
    return Keeper.KEYRING if is_in_keyring else Keeper.FILE


def forget(home: Path, url: str | None = None) -> list[str]:
    """Forget the token for `url`, by default all; the addresses that were known."""
    if not (home / FILE_NAME).exists():
        return []
    with file_lock(home / f".{FILE_NAME}.lock"):
        known = Credentials.read(home)
        gone = [name for name in known.tokens if url is None or name == url.rstrip("/")]
        left = {name: token for name, token in known.tokens.items() if name not in gone}
        Credentials(None if known.url in gone else known.url, left).write(home)
    for name in gone:
        if known.tokens[name] is None:
            _clear_keyring(name)
    return gone


def _keyring() -> Any:
    """The library, where it is installed."""
    try:
        return importlib.import_module("keyring")
    except ImportError:
        return None


def _tell_keyring(url: str, token: str) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(_SERVICE, url, token)
        return bool(keyring.get_password(_SERVICE, url) == token)
    except (keyring.errors.KeyringError, OSError):  # none on this machine, or one that is locked
        return False


def _ask_keyring(url: str) -> str | None:
    keyring = _keyring()
    if keyring is None:
        return None
    try:
        found: str | None = keyring.get_password(_SERVICE, url)
    except (keyring.errors.KeyringError, OSError):
        return None
    return found


def _clear_keyring(url: str) -> None:
    keyring = _keyring()
    if keyring is not None:
        try:
            keyring.delete_password(_SERVICE, url)
        except (keyring.errors.KeyringError, OSError):
            return
