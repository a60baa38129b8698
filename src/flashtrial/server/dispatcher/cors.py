"""Which pages of other origins may use the dispatcher, and only it: front ends that run on this machine."""

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from flashtrial.server.refusals import is_below

PREFIX = "/dispatcher"
# Where the published front ends are served by default; their proxies send their own origin along.
LOCAL_FRONT_ENDS = (
    "http://localhost",
    "http://localhost:3000",
    "http://127.0.0.1:3000",
    "http://localhost:8853",
    "http://127.0.0.1:8853",
)


class DispatcherCors:
    """Admits requests to the dispatcher that come from pages of `origins`, preflights included.

    Stands in front of the guard that refuses foreign origins, and takes what was admitted away from its sight: the
    headers by which a browser tells of the page. All other requests pass as they are; whatever the origin, the guards
    of host and token hold.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._cors = CORSMiddleware(
            _Admitted(app),
            allow_origins=sorted(self._origins),
            allow_methods=("GET", "POST"),
            allow_headers=("authorization", "content-type"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_front_end = scope["type"] == "http" and is_below(scope["path"], (PREFIX,)) and self._is_admitted(scope)
        await (self._cors if is_front_end else self._app)(scope, receive, send)

    def _is_admitted(self, scope: Scope) -> bool:
        origins = Headers(scope=scope).getlist("origin")
        return len(origins) == 1 and origins[0] in self._origins


class _Admitted:
    """The app, which is not told of the page that a request comes from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if not _tells_of_the_page(name)]
        await self._app({**scope, "headers": headers}, receive, send)


def _tells_of_the_page(name: bytes) -> bool:
    return name.lower() == b"origin" or name.lower().startswith(b"sec-fetch-")
