"""What the control routes answer alike: rows, denials, and a server that is busy."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

from fastapi import Response

from flashtrial.server.answers import NOT_TAKEN, busy_answer, error_answer, json_answer
from flashtrial.server.control.command_rows import CommandRow
from flashtrial.server.control.epochs import Denied
from flashtrial.server.control.json_views import command_json

P = ParamSpec("P")


def command_answer(row: CommandRow | Denied, status: int = 200) -> Response:
    """The command, or why not."""
    return denial(row) if isinstance(row, Denied) else json_answer(command_json(row), status)


def denial(denied: Denied) -> Response:
    return error_answer(denied.status, denied.slug, denied.reason)


def when_busy(route: Callable[P, Awaitable[Response]]) -> Callable[P, Awaitable[Response]]:
    """`route`, which answers 503 where the repository takes nothing now."""

    @wraps(route)
    async def answering(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return await route(*args, **kwargs)
        except NOT_TAKEN as error:
            return busy_answer(error)

    return answering
