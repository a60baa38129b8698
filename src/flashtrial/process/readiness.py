"""Whether a descriptor can be read, now or later."""

import asyncio
import os
import select


def is_readable(descriptor: int) -> bool:
    """Whether reading would not block; never waits."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


async def until_readable(descriptor: int) -> None:
    """Wait on a duplicate, so that nobody else's listening on `descriptor` is disturbed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    duplicate = os.dup(descriptor)
    loop.add_reader(duplicate, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(duplicate)
        os.close(duplicate)
