"""What a guard says to a request that it does not let pass, in the shape that the request's protocol has for errors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flashtrial.server.answers import error_answer, json_answer

# Whose clients read ``error`` as words: Pluto's, and those of the dispatcher.
_WORDS_ALONE = ("/api/runs", "/api/slug", "/ingest", "/files", "/pluto", "/dispatcher")
_MLFLOW = ("/api/2.0", "/api/3.0", "/ajax-api", "/get-artifact")
_MLFLOW_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    408: "TEMPORARILY_UNAVAILABLE",
    413: "REQUEST_LIMIT_EXCEEDED",
    429: "REQUEST_LIMIT_EXCEEDED",
}
_ANY_OTHER = "BAD_REQUEST"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let pass; `error` is a stable slug for programs, `words` say what to do."""

    status: int
    error: str
    words: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, path: str) -> Response:
        """The answer to a request of `path`."""
        headers = dict(self.headers)
        if is_below(path, _MLFLOW):
            code = _MLFLOW_CODES.get(self.status, _ANY_OTHER)
            return json_answer({"error_code": code, "message": self.words}, self.status, headers)
        if is_below(path, _WORDS_ALONE):
            return json_answer({"error": self.words}, self.status, headers)
        return error_answer(self.status, self.error, self.words, headers)


async def refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Answer instead of the app."""
    if scope["type"] == "websocket":  # closing before it was accepted is a 403 on the wire
        await send({"type": "websocket.close", "code": 1008})
    else:
        await refusal.answer(scope["path"])(scope, receive, send)


def is_below(path: str, prefixes: Iterable[str]) -> bool:
    """Whether `path` is one of `prefixes` or lies below it; every path lies below the empty one."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)
