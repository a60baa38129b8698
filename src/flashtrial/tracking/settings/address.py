"""Where the server is, and whether it may be shown the token: looked up again at each attempt.

Standard library only: user processes ask it too, for the address of a run's page.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from flashtrial.core import env
from flashtrial.tracking.settings.credentials import Credentials

IN_THE_CLEAR = "%s is not encrypted: whoever is on the way can read the token"

_DEFAULT_URL = f"http://127.0.0.1:{env.DEFAULT_PORT}"
_USERS = re.compile(r"(?<=://)[^\s/?#]*@")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Address:
    """A server's base address without a slash at its end, and the token to show it, if any."""

    url: str
    token: str | None = field(default=None, repr=False)


INSTANCE = "instance"  # this home's own, wherever it is by then: what a journal says instead of an address


def find_address(
    home: Path, *, url: str | None = None, token: str | None = None, from_keyring: bool = False
) -> Address:
    """The server's address: `url`, else that of the last login, else the running instance's, else the default port of
    this machine.

    The token is `token`, for an address that the user named, for this machine, and for what the running instance's file
    says where only this user can have written it. Else it is what a login keeps for the address; the keyring is asked
    only with `from_keyring`. Else it is the key file in `home`, for the latter two alone: that key
    opens the local RunPod as well.
    """
    instance = _Instance.read(home)
    kept = Credentials.read(home)
    found = (url or kept.url or instance.url or _DEFAULT_URL).rstrip("/")
    is_ours = instance.has_at(found)
    if token and (url or is_ours or found == kept.url):
        return Address(found, token)
    of_login = kept.token_for(found, from_keyring=from_keyring)
    return Address(found, of_login or (_key(home) if is_ours else None))


def server_meant(home: Path, url: str | None) -> str:
    """What `find_address` means by `url` now, in words that stay true: `INSTANCE`, or the address itself.

    A later login, or the settings of another process, change nothing about a run that is open.
    """
    own = _Instance.read(home).url or _DEFAULT_URL
    meant = (url or Credentials.read(home).url or own).rstrip("/")
    return INSTANCE if meant == own else meant


def instance_url(home: Path) -> str:
    """Where this home's own instance is, or would be."""
    return _Instance.read(home).url or _DEFAULT_URL


def has_instance(home: Path) -> bool:
    """Whether an instance of this home runs, or was killed: an end in order leaves no file that says where it is."""
    return _Instance.read(home).url is not None


def instance_key(home: Path, url: str) -> str | None:
    """The key of this home's own instance, for `url` on this machine or where only this user can have said it is."""
    return _key(home) if is_instances(home, url) else None


def is_instances(home: Path, url: str) -> bool:
    """Whether `url` is on this machine, or where only this user can have said that this home's instance is."""
    return _Instance.read(home).has_at(url)


def address_from(home: Path, environment: Mapping[str, str]) -> Address:
    """`find_address` by the variables of `environment`."""
    url, token = environment.get(env.URL) or None, environment.get(env.TOKEN) or None
    return find_address(home, url=url, token=token, from_keyring=True)


def host_of(url: str) -> str | None:
    """The host that an HTTP address names; None when it is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is no number
    except ValueError:
        return None
    return parts.hostname if parts.scheme in ("http", "https") else None


def without_users(said: str) -> str:
    """`said` without the users and passwords of the addresses in it."""
    return _USERS.sub("", said)


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's, by its name."""
    return host_of(url) in _LOOPBACK


@dataclass(frozen=True, slots=True)
class _Instance:
    """What the running instance's file says: its address, if any, and whether nobody else can have put it there."""

    url: str | None
    is_ours: bool = False

    def has_at(self, url: str) -> bool:
        """Whether what answers at `url` may be shown what is this home's own."""
        return is_loopback(url) or (self.is_ours and url == self.url)

    @classmethod
    def read(cls, home: Path) -> "_Instance":
        try:
            with (home / "instance.json").open("rb") as file:
                status = os.fstat(file.fileno())
                fields = json.loads(file.read())
        except (OSError, ValueError):  # no instance, or one that is just being written
            return cls(None)
        match fields:
            case {"url": str(url)} if url:
                is_ours = status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS
                return cls(url.rstrip("/"), is_ours)
        return cls(None)


def _key(home: Path) -> str | None:
    try:
        return (home / "key").read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
