"""The guard in front of every route that needs a token: who is it, may they do this, and not too often?"""

import hmac
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from flashtrial.core.clock import Clock
from flashtrial.server.access.rates import Rates
from flashtrial.server.access.tokens import (
    EVERYTHING,
    FILE,
    BadToken,
    Holder,
    Scope,
    UnreadableTokens,
    holder_of,
    issued,
)
from flashtrial.server.refusals import Refusal, is_below, refuse

logger = logging.getLogger(__name__)

OWNER = Holder("key", "the key of this home", EVERYTHING)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Words of the neighbours' protocols that ask with POST, and that take away without DELETE.
_ASKING = (
    *("/search", "/get-history-bulk", "/searchExperiments"),
    *("/get-run", "/is-experiment-running", "/get-ic-logs", "/get-experiment-logs"),
)
_TAKING_AWAY = ("/delete", "/restore")
_CONTROL = ("/dispatcher", "/api/v1/commands", "/api/v1/experiments")
_WHO_ARE_YOU = "a bearer token is needed: clients take it from FLASHTRIAL_TOKEN"
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def scope_of(method: str, path: str) -> Scope:
    """What a token must be good for to send a request of `method` to `path`."""
    path = path.rstrip("/")
    if is_below(path, ("/api/v1/experiments",)) and "/inbox" in path:  # to listen there is to be the controller
        return Scope.CONTROL
    if method in _READING or (method == "POST" and path.endswith(_ASKING)):
        return Scope.READ
    if method == "DELETE" or path.endswith(_TAKING_AWAY) or is_below(path, _CONTROL):
        return Scope.CONTROL
    return Scope.WRITE


@dataclass(slots=True)
class Doorkeeper:
    """Knows who shows what: the key itself is good for everything, a token that it signed for its scopes.

    Lives on the event loop. The list of revoked tokens is read again when its file changes.
    """

    home: Path
    key: str
    clock: Clock
    _seen: tuple[int, int, int] | None = field(default=None, init=False)
    _revoked: frozenset[str] = field(default=frozenset(), init=False)

    def holder(self, shown: str) -> Holder:
        """Who shows the ``Authorization`` header `shown`. Raises `BadToken`."""
        kind, _, token = shown.partition(" ")
        token = token.strip()
        if kind.lower() != "bearer" or not token:
            raise BadToken(_WHO_ARE_YOU)
        if hmac.compare_digest(token.encode("latin-1"), self.key.encode()):
            return OWNER
        try:
            return holder_of(self.key, token, self._taken_back(), self.clock.time_ms())
        except UnreadableTokens as error:
            logger.error("%s", error, extra={"action": "tokens_unreadable"})
            raise BadToken("the server's list of tokens is damaged: its log says more") from error

    def _taken_back(self) -> frozenset[str]:
        try:
            found = (self.home / FILE).stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = None
        if seen != self._seen:
            tokens = issued(self.home)
            self._revoked = frozenset(token.id for token in tokens if token.revoked_ms is not None)
            self._seen = seen
        return self._revoked


class BearerGuard:
    """Asks for ``Authorization: Bearer <token>`` on the paths below `prefixes`: 401 without a good one, 403 where it is
    good for something else, 429 where its holder asks too often, or strangers guess too often.
    """

    def __init__(
        self, app: ASGIApp, doorkeeper: Doorkeeper, rates: Rates, guesses: Rates, prefixes: Iterable[str] = ("/api",)
    ) -> None:
        self._app = app
        self._doorkeeper = doorkeeper
        self._rates = rates
        self._guesses = guesses
        self._prefixes = tuple(prefixes)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not is_below(scope["path"], self._prefixes):
            await self._app(scope, receive, send)
            return
        try:
            shown = Headers(scope=scope).getlist("authorization")
            holder = self._doorkeeper.holder(shown[0] if len(shown) == 1 else "")
        except BadToken as error:
            await refuse(scope, receive, send, self._unknown(scope, str(error)))
            return
        needed = scope_of(scope.get("method", "GET"), scope["path"])
        if needed not in holder.scopes:
            words = f"this token ({holder.name}) is good for {_listed(holder.scopes)}; this needs {needed}"
            await refuse(scope, receive, send, Refusal(403, "wrong_scope", words))
        elif wait_s := self._rates.wait_s(holder.id):
            await refuse(scope, receive, send, _too_often(wait_s))
        else:
            await self._app(scope, receive, send)

    def _unknown(self, scope: AsgiScope, problem: str) -> Refusal:
        client = scope.get("client")
        if wait_s := self._guesses.wait_s(client[0] if client else ""):
            return _too_often(wait_s)
        return Refusal(401, "unauthorized", problem, _CHALLENGE)


def _listed(scopes: Iterable[Scope]) -> str:
    return ", ".join(sorted(scopes)) or "nothing"


def _too_often(wait_s: float) -> Refusal:
    """Whole seconds, rounded up: some clients read nothing else."""
    seconds = max(1, math.ceil(wait_s))
    headers = {"Retry-After": str(seconds)}
    return Refusal(429, "too_often", f"too many requests: wait {seconds} s, or send more in each", headers)
