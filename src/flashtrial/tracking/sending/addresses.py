"""Where each destination of our own kind is now, and which token it may be shown."""

from collections.abc import Mapping
from pathlib import Path

from flashtrial.core import env
from flashtrial.tracking.address import Address, address_from, find_address
from flashtrial.tracking.journal_facts import INSTANCE


class Addresses:
    """Answers by what a journal's header said of its server.

    Nothing said: what the sync process's own environment names. `INSTANCE`: the instance of this home, wherever it is
    now. Else the address itself, with the token that was handed over for it, or the environment's if that names it.
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = environment
        self._tokens: dict[str, str] = {}

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
                return find_address(self._home, token=self._tokens.get(INSTANCE))
        return find_address(self._home, url=url, token=self._tokens.get(url) or self._token_of_environment(url))

    def whereabouts(self, url: str) -> tuple[Address, int]:
        """What changes when the server moves, or comes up again where it was."""
        try:
            return self.find(url), (self._home / "instance.json").stat().st_mtime_ns
        except OSError:
            return self.find(url), 0

    def _token_of_environment(self, url: str) -> str | None:
        named = self._environment.get(env.URL)
        return self._environment.get(env.TOKEN) if named and named.rstrip("/") == url.rstrip("/") else None
