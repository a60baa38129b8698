"""Requests of the neighbours' clients to make a run, answered so that one that is sent again makes no second one."""

from collections.abc import Callable

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from flashtrial.server.neighbours.fresh_runs import FreshRuns


async def made(
    fresh: FreshRuns, request: Request, make: Callable[[], str], answer: Callable[[str], Response]
) -> Response:
    """What `answer` gives, on a thread, for the id of the run that the request makes; `make` gives new ids."""
    body = await request.body()
    run_id = await fresh.begin(body, make, request.is_disconnected)
    response = await run_in_threadpool(answer, run_id)
    await fresh.end(body, run_id, is_good=response.status_code < 500)
    return response
