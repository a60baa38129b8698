"""What the server does by itself, as one task of its lifespan: runs nobody lives for are marked, old ones are removed.

The task only asks the repository, whose thread does the work; an error is logged and the next round tries again.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from flashtrial.core.errors import FlashtrialError
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.repository import Repository
from flashtrial.server.retention import RetentionRules
from flashtrial.server.storage.reading import reading
from flashtrial.server.storage.removal import Removal, is_named

logger = logging.getLogger(__name__)

LONGEST_REAP_PAUSE_S = 15.0
SHORTEST_REAP_PAUSE_S = 0.1
RETENTION_PAUSE_S = 3600.0


async def keep_up(
    repository: Repository,
    blobs: BlobStore,
    silent_after_s: float,
    rules: RetentionRules,
    remove_forgotten: Callable[[], object],
) -> None:
    """Reap and retain until cancelled; `remove_forgotten` is called on another thread, every hour."""

    async def clean() -> None:
        await run_in_threadpool(remove_forgotten)

    async def retain() -> None:
        removal = await asyncio.wrap_future(repository.retain(rules))
        await asyncio.to_thread(forget_blobs, repository.path, blobs, removal)
        if removal.run_ids:
            logger.info(
                "%d runs removed by the rules of retention", len(removal.run_ids), extra={"action": "retention"}
            )

    async def reap() -> None:
        await asyncio.wrap_future(repository.reap())

    pause_s = min(LONGEST_REAP_PAUSE_S, max(SHORTEST_REAP_PAUSE_S, silent_after_s / 4))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_again_and_again(reap, pause_s))
        tasks.create_task(_again_and_again(clean, RETENTION_PAUSE_S))
        if rules.is_on:
            tasks.create_task(_again_and_again(retain, RETENTION_PAUSE_S))


def forget_blobs(db_path: Path, blobs: BlobStore, removal: Removal) -> None:
    """Remove the contents that only removed runs named, and that nobody has logged meanwhile."""
    for sha256 in removal.forgotten:
        with reading(db_path) as connection:
            is_wanted = is_named(connection, sha256)
        if not is_wanted:
            blobs.remove(sha256)


async def _again_and_again(chore: Callable[[], Awaitable[None]], pause_s: float) -> None:
    while True:
        try:
            await chore()
        except (FlashtrialError, OSError, sqlite3.Error):
            logger.warning("a chore failed", exc_info=True, extra={"action": "upkeep_failed"})
        await asyncio.sleep(pause_s)
