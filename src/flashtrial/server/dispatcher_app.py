"""The dispatcher on a port of its own, for documented clients that expect nothing else there."""

from starlette.types import ASGIApp, Receive, Scope, Send

from flashtrial.server.dispatcher.cors import PREFIX
from flashtrial.server.refusals import Refusal, is_below, refuse


def dispatcher_only(app: ASGIApp) -> ASGIApp:
    """`app`, made by `create_app`, of which nothing but the dispatcher answers, behind the same guards.

    It has no lifespan of its own: serve it (uvicorn: ``lifespan="off"``) while `app` is served in the same loop.
    """

    async def narrowed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_below(scope["path"], (PREFIX,)):
            await app(scope, receive, send)
        elif scope["type"] != "lifespan":
            await refuse({**scope, "path": PREFIX}, receive, send, _NOTHING_HERE)  # in the dispatcher's words

    return narrowed


_NOTHING_HERE = Refusal(404, "not_found", f"there is nothing here but {PREFIX}")
