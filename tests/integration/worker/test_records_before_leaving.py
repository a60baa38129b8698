"""A worker that leaves waits for what its own children wrote to be sent."""

import asyncio
from pathlib import Path

import pytest

from flashtrial.protocol.records import JournalHeader
from flashtrial.tracking.journal.outbox import Journal
from flashtrial.worker.sync_keeper import SyncKeeper
from testkit.waiting import wait_until_async

pytestmark = pytest.mark.integration


def journal(outbox: Path, writer_id: str, worker_id: str | None) -> Path:
    """A journal as a child on `worker_id` leaves it."""
    made = Journal.create(outbox, JournalHeader("run", writer_id, {"worker_id": worker_id}))
    made.append("metric", {"step": 1, "values": {"loss": 1.0}}, 1)
    made.close()
    return made.path


async def test_it_waits_for_its_own_journals_to_be_gone(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    ours, second = journal(outbox, "w1", "here"), journal(outbox, "w2", "here")
    others = [journal(outbox, "w3", "elsewhere"), journal(outbox, "w4", None)]
    (outbox / "w5.journal").write_bytes(b"no journal")
    waiting = asyncio.create_task(SyncKeeper(outbox).wait_until_sent("here"))
    ours.unlink()
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    second.unlink()
    await asyncio.wait_for(waiting, 10)
    assert all(path.exists() for path in others)


async def test_where_nothing_was_written_it_does_not_wait(tmp_path: Path) -> None:
    waiting = asyncio.create_task(SyncKeeper(tmp_path / "outbox").wait_until_sent("here"))
    await wait_until_async(waiting.done)
