"""Where the server is, and whether it may be shown the token: looked up again at each attempt.

Standard library only: user processes ask it too, for the address of a run's page.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from flashtrial.core import env

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """A server's base address without a slash at its end, and the token to show it, if any."""

    url: str
    token: str | None = field(default=None, repr=False)


def find_address(home: Path, *, url: str | None = None, token: str | None = None) -> Address:
    """The server's address: `url`, else the running instance's, else the default port of this machine.

    The token is `token`, else the key file in `home`; it is for an address that the user named and for this machine
    only, never for whatever another file names.
    """
    found = (url or _instance_url(home) or f"http://127.0.0.1:{env.DEFAULT_PORT}").rstrip("/")
    may_see_token = bool(url) or urlsplit(found).hostname in _LOOPBACK
    return Address(found, (token or _key(home)) if may_see_token else None)


def address_from(home: Path, environment: Mapping[str, str]) -> Address:
    """`find_address` by the variables of `environment`."""
    return find_address(home, url=environment.get(env.URL) or None, token=environment.get(env.TOKEN) or None)


def _instance_url(home: Path) -> str | None:
    try:
        match json.loads((home / "instance.json").read_bytes()):
            case {"url": str(url)} if url:
                return url
    except (OSError, ValueError):  # no instance, or one that is just being written
        pass
    return None


def _key(home: Path) -> str | None:
    try:
        return (home / "key").read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
