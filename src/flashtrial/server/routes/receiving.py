"""The body of a request on its way into the blob store, never whole in memory."""

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from flashtrial.server.files.blobs import Incoming

CHUNK_BYTES = 1024 * 1024


async def receive(request: Request, incoming: Incoming) -> None:
    """All of a request's body, in pieces of about a megabyte, each written on a thread. Raises as `Incoming.write`."""
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= CHUNK_BYTES:
            await run_in_threadpool(incoming.write, bytes(waiting))
            waiting.clear()
    if waiting:
        await run_in_threadpool(incoming.write, bytes(waiting))
