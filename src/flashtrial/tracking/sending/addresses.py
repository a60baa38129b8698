"""Where each destination of our own kind is now, and which token it is shown.

A server may refuse a token that another one replaces: a newer login, a trainer that handed over its own, the key of an
instance that was made anew. So a refused token is passed over for the next one, until all were refused.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.journal.routes import Destination
from flashtrial.tracking.settings.address import (
    INSTANCE,
    Address,
    address_from,
    instance_key,
    instance_url,
    is_instances,
)
from flashtrial.tracking.settings.credentials import FILE_NAME, Credentials
from flashtrial.tracking.settings.login import parse_token

KEYRING_LOOK_EVERY_S: Final = 60.0  # it may take its time, or ask the user something
MOST_TOKENS: Final = 16  # of one server

Server = tuple[str, str]  # the home that a journal names ("": the sync process's own), and its server


class Addresses:
    """Answers by what a journal's header said of its server and its home.

    Nothing said: what the sync process's own environment names. `INSTANCE`: the instance of that home, wherever it is
    now. Else the address itself. The tokens of an address, the first that was not refused being shown: what was handed
    over for it, newest first; the environment's if that means this address; what the login of the home keeps for it;
    the home's own key. Used by the thread that holds the outbox and by the couriers'.
    """

    def __init__(
        self, home: Path, environment: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._home = home
        self._environment = environment
        self._monotonic = monotonic
        self._handed: defaultdict[Server, tuple[str, ...]] = defaultdict(tuple)
        self._refused: defaultdict[str, frozenset[str]] = defaultdict(frozenset)  # tokens by address
        self._kept: dict[Server, tuple[float, int, str | None]] = {}  # of logins: asked at, of which file, the token

    def keep(self, url: str, token: str, home: str = "") -> None:
        """A token for the server `url` of `home` from now on, in memory only; before those that were kept earlier."""
        server = "" if home == str(self._home) else home, url
        if token not in self._handed[server]:
            self._handed[server] = (token, *self._handed[server])[:MOST_TOKENS]

    def find(self, destination: Destination) -> Address:
        """Where it is now, and the first of its tokens that was not refused."""
        url = self._url(destination)
        return Address(url, next(self._left(destination, url), None))

    def refuse(self, destination: Destination, address: Address) -> bool:
        """The server does not take this token; whether there is another one to show it.

        When all were refused they count again: a server may have been put right since.
        """
        if address.token is None:
            return False
        self._refused[address.url] |= {address.token}
        if any(self._left(destination, address.url)):
            return True
        self._refused.pop(address.url, None)
        return False

    def whereabouts(self, destination: Destination) -> tuple[Address, int, int]:
        """What changes when the server moves, or comes up again where it was, or when the user logs in."""
        home = self._home_of(destination)
        return self.find(destination), _changed_ns(home / "instance.json"), _changed_ns(home / FILE_NAME)

    def _url(self, destination: Destination) -> str:
        match destination.url:
            case "":
                return address_from(self._home, self._environment).url
            case url if url == INSTANCE:
                return instance_url(self._home_of(destination))
            case url:
                return url

    def _left(self, destination: Destination, url: str) -> Iterator[str]:
        refused = self._refused.get(url, frozenset())
        return (token for token in self._tokens(destination, url) if token not in refused)

    def _tokens(self, destination: Destination, url: str) -> Iterator[str]:
        home = self._home_of(destination)
        handed = self._handed.get((destination.home, destination.url), ())
        if destination.url in ("", INSTANCE) and not self._is_meant(home, url):
            handed = ()  # whoever may write the instance's file names any address
        rest = (self._token_of_environment(home, url), self._token_of_login(home, url), instance_key(home, url))
        for token in (*handed, *rest):
            if token and _can_be_shown(token):
                yield token

    def _token_of_environment(self, home: Path, url: str) -> str | None:
        """The variable's, for the address that the variables name; without one, for what our home means by none."""
        if self._environment.get(env.URL):
            return self._environment.get(env.TOKEN) if self._is_named(url) else None
        return self._environment.get(env.TOKEN) if home == self._home and self._is_meant(home, url) else None

    def _is_meant(self, home: Path, url: str) -> bool:
        """Whether a token that was given for no address may go to this one."""
        return self._is_named(url) or is_instances(home, url) or url == Credentials.read(home).url

    def _is_named(self, url: str) -> bool:
        return self._environment.get(env.URL, "").rstrip("/") == url

    def _token_of_login(self, home: Path, url: str) -> str | None:
        """What the user's login keeps for `url`, looked up when that may have changed."""
        changed_ns = _changed_ns(home / FILE_NAME)
        if not changed_ns:
            return None
        asked_at, of_file, token = self._kept.get((str(home), url), (0.0, 0, None))
        if changed_ns != of_file or self._monotonic() - asked_at > KEYRING_LOOK_EVERY_S:
            token = Credentials.read(home).token_for(url, from_keyring=True)
            self._kept[str(home), url] = (self._monotonic(), changed_ns, token)
        return token

    def _home_of(self, destination: Destination) -> Path:
        return Path(destination.home) if destination.home else self._home


def _can_be_shown(token: str) -> bool:
    try:
        return parse_token(token) == token
    except ConfigurationError:
        return False


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
