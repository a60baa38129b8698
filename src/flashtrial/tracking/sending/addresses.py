"""Where each destination of our own kind is now, and which token it may be shown."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from flashtrial.core import env
from flashtrial.tracking.journal.facts import INSTANCE
from flashtrial.tracking.settings.address import Address, address_from, find_address
from flashtrial.tracking.settings.credentials import FILE_NAME, Credentials

KEYRING_LOOK_EVERY_S: Final = 60.0  # it may take its time, or ask the user something


class Addresses:
    """Answers by what a journal's header said of its server.

    Nothing said: what the sync process's own environment names. `INSTANCE`: the instance of this home, wherever it is
    now. Else the address itself, with the token that was handed over for it, or the environment's if that names it, or
    else what the user's login keeps for it: the run that knew it may have died before it could hand it over. Used by
    the thread that holds the outbox and by the couriers'.
    """

    def __init__(
        self, home: Path, environment: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._home = home
        self._environment = environment
        self._monotonic = monotonic
        self._tokens: dict[str, str] = {}
        self._kept: dict[str, tuple[float, int, str | None]] = {}  # of logins: asked at, of which file, the token

    def keep(self, url: str, token: str) -> None:
        """The token for `url` from now on, in memory only."""
        self._tokens[url] = token

    def find(self, url: str) -> Address:
        match url:
            case "":
                if (token := self._tokens.get("")) and not self._environment.get(env.TOKEN):
                    return address_from(self._home, {**self._environment, env.TOKEN: token})
                return address_from(self._home, self._environment)
            case str() if url == INSTANCE:
                return self._of_instance(self._tokens.get(INSTANCE))
        token = self._tokens.get(url) or self._token_of_environment(url) or self._token_of_login(url)
        return find_address(self._home, url=url, token=token)

    def whereabouts(self, url: str) -> tuple[Address, int, int]:
        """What changes when the server moves, or comes up again where it was, or when the user logs in."""
        return self.find(url), _changed_ns(self._home / "instance.json"), _changed_ns(self._home / FILE_NAME)

    def _of_instance(self, token: str | None) -> Address:
        found = find_address(self._home, token=token)
        of_login = None if token else self._token_of_login(found.url)
        return Address(found.url, of_login) if of_login else found

    def _token_of_login(self, url: str) -> str | None:
        """What the user's login keeps for `url`, looked up when that may have changed."""
        changed_ns = _changed_ns(self._home / FILE_NAME)
        if not changed_ns:
            return None
        asked_at, of_file, token = self._kept.get(url, (0.0, 0, None))
        if changed_ns != of_file or self._monotonic() - asked_at > KEYRING_LOOK_EVERY_S:
            token = Credentials.read(self._home).token_for(url, from_keyring=True)
            self._kept[url] = (self._monotonic(), changed_ns, token)
        return token

    def _token_of_environment(self, url: str) -> str | None:
        named = self._environment.get(env.URL)
        return self._environment.get(env.TOKEN) if named and named.rstrip("/") == url.rstrip("/") else None


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
