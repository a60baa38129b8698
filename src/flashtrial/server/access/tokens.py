"""Scoped tokens: JSON web tokens that the home's key signs, so that the server needs no list to know a good one.

A token names its holder, what it may do and until when. What a home has given out, and what it took back, stands in
``tokens.json`` (mode 0600), without the tokens themselves: the list is for people, and for saying no.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import jwt

from flashtrial.core import files
from flashtrial.core.errors import FlashtrialError
from flashtrial.core.ids import new_id

FILE = "tokens.json"
_ALGORITHM = "HS256"
_ISSUER = "flashtrial"
_CLAIMS = ["iss", "jti", "scope", "sub"]


class Scope(StrEnum):
    """What a token may be good for; none contains another."""

    READ = "read"
    WRITE = "write"
    CONTROL = "control"


EVERYTHING = frozenset(Scope)


class UnknownToken(FlashtrialError):
    """Raised when no token of that id was given out."""


class UnreadableTokens(FlashtrialError):
    """Raised when the list of tokens is damaged: no signed token is good until it is mended."""


class BadToken(ValueError):
    """Raised when a token was not signed by this home, is too old, or was taken back; the message says which."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever showed a good token."""

    id: str
    name: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is to be good for, to whom, and for how many seconds (None: until it is revoked)."""

    name: str
    scopes: frozenset[Scope]
    lasts_s: float | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was given out, as the list has it; times are milliseconds since 1970, UTC."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{**row, "scopes": tuple(row["scopes"])})


def mint(key: str, grant: Grant, now_ms: int) -> str:
    """A token signed with the home's `key`, that stands in no list and cannot be taken back alone."""
    return _signed(key, _new(grant, now_ms))


def issue(home: Path, key: str, grant: Grant, now_ms: int) -> str:
    """A token that stands in the list of `home`. Raises `UnreadableTokens`."""
    new = _new(grant, now_ms)
    with files.file_lock(home / f"{FILE}.lock"):
        _write(home, [*issued(home), new])
    return _signed(key, new)


def revoke(home: Path, token_id: str, now_ms: int) -> Issued:
    """Take a token back, from the next request on. Raises `UnknownToken` and `UnreadableTokens`."""
    if not home.is_dir():
        raise UnknownToken(f"there is no home {home}: FLASHTRIAL_HOME can name another one")
    with files.file_lock(home / f"{FILE}.lock"):
        tokens = {token.id: token for token in issued(home)}
        if token_id not in tokens:
            raise UnknownToken(f"no token has the id {token_id}: `flashtrial token list` shows them")
        gone = Issued.of({**asdict(tokens[token_id]), "revoked_ms": now_ms})
        _write(home, (tokens | {token_id: gone}).values())
    return gone


def issued(home: Path) -> list[Issued]:
    """What was given out, oldest first. Raises `UnreadableTokens`."""
    try:
        return [Issued.of(row) for row in json.loads((home / FILE).read_text())["tokens"]]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableTokens(
            f"{home / FILE} is damaged: mend it, or delete it and forget what was revoked"
        ) from error


def holder_of(key: str, token: str, revoked: frozenset[str], now_ms: int) -> Holder:
    """Who holds `token`. Raises `BadToken`."""
    try:
        claims = jwt.decode(
            token,
            _signing_key(key),
            algorithms=[_ALGORITHM],
            issuer=_ISSUER,
            options={"require": _CLAIMS, "verify_exp": False, "verify_iat": False},
        )
        expires_ms, scopes = claims.get("exp", 0) * 1000, frozenset(map(Scope, claims["scope"].split()))
    except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError) as error:
        raise BadToken("this token was not given out by this server") from error
    if expires_ms and expires_ms <= now_ms:
        raise BadToken("this token has expired: `flashtrial token create` makes another")
    if claims["jti"] in revoked:
        raise BadToken("this token was revoked")
    return Holder(claims["jti"], claims["sub"], scopes)


def _new(grant: Grant, now_ms: int) -> Issued:
    expires_ms = None if grant.lasts_s is None else now_ms + round(grant.lasts_s * 1000)
    return Issued(new_id("tok"), grant.name, tuple(sorted(grant.scopes)), now_ms, expires_ms)


def _signed(key: str, token: Issued) -> str:
    claims: dict[str, Any] = {
        "iss": _ISSUER,
        "jti": token.id,
        "sub": token.name,
        "scope": " ".join(token.scopes),
        "iat": token.created_ms // 1000,
    }
    if token.expires_ms is not None:
        claims["exp"] = token.expires_ms // 1000
    return jwt.encode(claims, _signing_key(key), algorithm=_ALGORITHM)


def _signing_key(key: str) -> bytes:
    """Not the key itself, which is shown to the server as it is: what one of the two leaks is no use as the other."""
    return hmac.digest(key.encode(), b"flashtrial scoped tokens 1", hashlib.sha256)


def _write(home: Path, tokens: Iterable[Issued]) -> None:
    body = json.dumps({"tokens": [asdict(token) for token in tokens]}, indent=1)
    files.write_atomically(home / FILE, body.encode() + b"\n")
