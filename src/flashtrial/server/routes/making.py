"""Requests of the neighbours' clients to make a run, answered so that one that is sent again makes no second one."""

from collections.abc import Callable

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from flashtrial.server.neighbours.fresh_runs import FreshRuns


async def made(
    fresh: FreshRuns,
    request: Request,
    make: Callable[[], str],
    answer: Callable[[str], Response],
    is_deleted: Callable[[str], bool],
) -> Response:
    """What `answer` gives, on a thread, for the id of the run that the request makes.

    `make` gives new ids; `is_deleted`, on a thread, tells of runs that are not to be made again.
    """
    body = await request.body()
    run_id = await fresh.begin(
        body, make, request.is_disconnected, lambda before: run_in_threadpool(is_deleted, before)
    )
    is_good = False
    try:
        response = await run_in_threadpool(answer, run_id)
        is_good = response.status_code < 500
    finally:
        await fresh.end(body, run_id, is_good=is_good)
    return response
