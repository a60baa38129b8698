"""Logging in to a server: its token is kept for this user, in the keyring of the system or in a file of mode 0600.

The token is bound to the address it was given for and shown to no other. It stands in no argument of a process, no log
and no database. `login` makes the address the one that runs go to where nothing else names one; `logout` forgets both.
"""

import getpass
import logging
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError, FlashtrialError
from flashtrial.tracking.settings.address import IN_THE_CLEAR, find_address, is_loopback
from flashtrial.tracking.settings.credentials import Keeper, forget, keep
from flashtrial.tracking.settings.resolution import SettingsLike, as_mapping, resolve

logger = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 5.0
_PROBE = "/api/v1/runs?limit=1"


class TokenRefused(FlashtrialError):
    """Raised when the server does not take the token; nothing was kept."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where this user is logged in now. `is_checked`: the server was asked and took the token."""

    url: str
    keeper: Keeper
    is_checked: bool

    def __str__(self) -> str:
        doubt = "" if self.is_checked else "; the server cannot be asked now, so nobody knows whether it is right"
        return f"logged in to {self.url}; the token is in {self.keeper.words}{doubt}"


def login(
    token: str | None = None, *, url: str | None = None, settings: SettingsLike = None, use_keyring: bool = True
) -> Login:
    """Keep `token` (default: of the settings and variables, else asked for at the terminal) for the server at `url`
    (default: as for a run). Calling again replaces it.

    Asks the server once, for at most `CHECK_TIMEOUT_S` seconds. Warns of an address that shows the token to whoever
    listens. Raises `TokenRefused`, and `ConfigurationError` where there is no token, or an address that is none.
    """
    said = resolve({**as_mapping(settings), **({"url": url} if url else {})}, env.snapshot())
    address = find_address(said.home, url=said.url).url
    if token is None:
        token = said.token or _asked()
    token = parse_token(token)
    warn_if_readable(address)
    is_checked = _check(address, token)
    return Login(address, keep(said.home, address, token, use_keyring=use_keyring), is_checked)


def logout(*, url: str | None = None, settings: SettingsLike = None) -> list[str]:
    """Forget the token for `url`, by default all of them; the addresses that were forgotten."""
    said = resolve(settings, env.snapshot())
    return forget(said.home, url)


def parse_token(token: str) -> str:
    """`token` without blanks around it. Raises `ConfigurationError` for what no header can hold."""
    stripped = token.strip()
    if not stripped or not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        raise ConfigurationError("a token is one word of printable ASCII characters")
    return stripped


def warn_if_readable(url: str) -> None:
    """Say so if a token that is sent to `url` can be read on the way."""
    if url.startswith("http://") and not is_loopback(url):
        logger.warning(IN_THE_CLEAR, url, extra={"action": "token_in_the_clear"})


def _asked() -> str:
    if not sys.stdin or not sys.stdin.isatty():
        raise ConfigurationError(f"there is no token: set {env.TOKEN}")
    return getpass.getpass("token: ")


def _check(url: str, token: str) -> bool:
    """Whether the server could be asked. Raises `TokenRefused` when it says no."""
    request = urllib.request.Request(url.rstrip("/") + _PROBE, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=CHECK_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        with error:
            if error.code == HTTPStatus.UNAUTHORIZED:
                raise TokenRefused(f"{url} refuses the token; nothing was kept") from None
            return False
    except (OSError, ValueError):  # unreachable, or no HTTP
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token is for the address it was given for."""

    def redirect_request(self, *_: object) -> None:
        return None
