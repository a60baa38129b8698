"""What waits in an outbox, by run and destination: how much, since when, and why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flashtrial.cli import outbox, sync
from flashtrial.core.errors import ConfigurationError
from flashtrial.core.files import file_lock
from flashtrial.protocol.records import JournalHeader
from flashtrial.tracking.journal.outbox import Journal, cursor_path, lock_path
from flashtrial.tracking.journal.progress import (
    Cursor,
    DroppedRecords,
    SyncStatus,
    append_dropped,
    dropped_path,
    write_cursor,
    write_status_if_possible,
)
from flashtrial.tracking.journal.segments import list_segments
from flashtrial.tracking.settings.limits import OutboxLimits

pytestmark = pytest.mark.unit


def journal(directory: Path, count: int) -> Journal:
    header = JournalHeader("run_1", "wr_1", {"backends": ["native", "mlflow"]})
    made = Journal.create(directory, header, OutboxLimits(segment_bytes=1024))
    for number in range(count):
        made.append("metric", {"values": {"x": 1.0}, "padding": "x" * 200}, 1_700_000_000_000 + 1000 * number)
    made.close()
    return made


def test_what_waits_is_listed_for_each_destination_with_the_time_of_the_oldest(tmp_path: Path) -> None:
    journal(tmp_path, 9)
    listed = {each.destination: each for each in outbox.waiting(tmp_path)}
    assert {name: each.records for name, each in listed.items()} == {"native": 9, "mlflow": 9}
    assert listed["native"].since_ms == 1_700_000_000_000
    assert "flashtrial sync" in listed["native"].reason
    assert "run_1  native  9 records  since 2023-11-14 22:13:20+00:00" in sync.listed(tmp_path)


def test_a_journal_of_several_segments_is_sent_when_the_last_one_is(tmp_path: Path) -> None:
    path = journal(tmp_path, 9).path
    last = list_segments(tmp_path)["wr_1"][-1]
    assert last > 1
    assert not outbox.is_sent(tmp_path)
    write_cursor(cursor_path(tmp_path, "wr_1", "native"), Cursor(path.stat().st_size, 9, last))
    assert outbox.is_sent(tmp_path)
    [waiting] = outbox.waiting(tmp_path)
    assert waiting.destination == "mlflow"


def test_dropped_records_are_counted_when_their_journal_is_gone(tmp_path: Path) -> None:
    append_dropped(dropped_path(tmp_path, "wr_1"), DroppedRecords("run_1", 1, "system", 5, 2, 30))
    [writer] = outbox.writers(tmp_path)
    assert (writer.run_id, writer.written, writer.sent, writer.dropped) == ("run_1", 30, 30, 5)


def test_nothing_waits_where_there_is_no_outbox(tmp_path: Path) -> None:
    assert sync.listed(tmp_path / "none") == "nothing waits"


@pytest.mark.parametrize("by_variable", [True, False])
def test_an_address_with_a_password_is_not_taken_and_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_variable: bool
) -> None:
    """The reason why records wait names the address, on the disk."""
    journal(tmp_path, 1)
    url = "http://me:open-sesame@127.0.0.1:9"
    monkeypatch.setenv("FLASHTRIAL_URL", url if by_variable else "")
    with pytest.raises(ConfigurationError, match="a name or a password") as told:
        sync.drain(tmp_path, tmp_path, None if by_variable else url)
    assert "sesame" not in str(told.value)
    assert not (tmp_path / "sync.json").exists()


def test_a_status_that_a_dead_sync_process_left_ends_no_taking_over(tmp_path: Path) -> None:
    """The new one has the lock before it says anything; the dead one may wait for whoever started it to ask."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    write_status_if_possible(tmp_path, SyncStatus(dead.pid, None, 1))
    with file_lock(lock_path(tmp_path)):
        for _ in ("a zombie", "gone"):
            sync._end_sync_process(tmp_path, set(), is_late=False)
            dead.wait()
        with pytest.raises(sync.NotSent, match="a process that has not said its number sends from"):
            sync._end_sync_process(tmp_path, set(), is_late=True)


def test_whoever_held_the_lock_a_moment_ago_and_is_no_sync_process_is_not_told_to_end(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as trainer:
        write_status_if_possible(tmp_path, SyncStatus(trainer.pid, None, 1))
        sync._end_sync_process(tmp_path, set(), is_late=False)
        trainer.communicate(b"\n")
        assert trainer.returncode == 0
