"""`flashtrial token`: give others a token that is good for less than the home's key, and take it back."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from flashtrial.cli.environment import read_key
from flashtrial.core.clock import SystemClock, utc_from_ms
from flashtrial.core.errors import ConfigurationError
from flashtrial.server.access import tokens
from flashtrial.server.access.tokens import Grant, Issued, Scope

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


NEVER = "never"
_MOST_CHARS = 100


def create(home: Path, name: str, scopes: Iterable[str], expires: str) -> str:
    """A token that the server of `home` takes from now on; it is shown this once.

    Raises `ConfigurationError` for an unknown scope or length of time and for a name that no list can show, `NoKey`
    before the first `flashtrial up`.
    """
    if not name.strip() or not name.isprintable() or len(name) > _MOST_CHARS:
        raise ConfigurationError(
            f"a token's name has 1 to {_MOST_CHARS} printable characters: say who or what it is for"
        )
    grant = Grant(name, _scopes(scopes), None if expires == NEVER else _seconds(expires))
    return tokens.issue(home, read_key(home), grant, SystemClock().time_ms())


def listed(home: Path) -> list[str]:
    """A line for each token that was given out, oldest first."""
    now_ms = SystemClock().time_ms()
    return [_line(token, now_ms) for token in tokens.issued(home)]


def revoke(home: Path, token_id: str) -> Issued:
    """Take a token back: the server refuses it from its next request on. Raises `UnknownToken`."""
    return tokens.revoke(home, token_id, SystemClock().time_ms())


def _line(token: Issued, now_ms: int) -> str:
    return f"{token.id}  {_state(token, now_ms):<28}  {' '.join(token.scopes):<18}  {token.name}"


def _state(token: Issued, now_ms: int) -> str:
    if token.revoked_ms is not None:
        return f"revoked {utc_from_ms(token.revoked_ms):%Y-%m-%d %H:%M} UTC"
    if token.expires_ms is None:
        return "good until revoked"
    word = "expired" if token.expires_ms <= now_ms else "until"
    return f"{word} {utc_from_ms(token.expires_ms):%Y-%m-%d %H:%M} UTC"


def _scopes(names: Iterable[str]) -> frozenset[Scope]:
    known = ", ".join(Scope)
    try:
        return frozenset(map(Scope, names))
    except ValueError as error:
        raise ConfigurationError(f"{error}: a token is good for any of {known}") from error


def _seconds(length: str) -> float:
    """`length` such as ``90d`` as seconds. Raises `ConfigurationError`."""
    number, unit = length[:-1], _UNITS.get(length[-1:])
    if unit is None or not number.isascii() or not number.isdigit() or not 0 < int(number) <= 100_000:
        raise ConfigurationError(f"{length!r:.40} is no length of time: say 30m, 12h, 90d, 8w or {NEVER}")
    return int(number) * unit.total_seconds()
