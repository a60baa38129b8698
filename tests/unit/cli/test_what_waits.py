"""What waits in an outbox, by run and destination: how much, since when, and why."""

from pathlib import Path

import pytest

from flashtrial.cli import outbox, sync
from flashtrial.core.errors import ConfigurationError
from flashtrial.protocol.records import JournalHeader
from flashtrial.tracking.journal.outbox import Journal, cursor_path
from flashtrial.tracking.journal.progress import Cursor, DroppedRecords, append_dropped, dropped_path, write_cursor
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
