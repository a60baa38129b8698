"""Cursors, dead lists and the sync process's word: read back as written, harmless when damaged."""

from pathlib import Path

from flashtrial.tracking.journal.progress import (
    START,
    Cursor,
    DeadRecord,
    SyncStatus,
    append_dead,
    read_cursor,
    read_dead,
    read_status,
    write_cursor,
    write_status_if_possible,
)


def dead(seq: int, reason: str = "a reason") -> DeadRecord:
    return DeadRecord("run_1", "wr_1", seq, reason, 5, bytes([seq]))


def test_a_cursor_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "w.native.cursor"
    assert read_cursor(path) == START
    write_cursor(path, Cursor(100, 3))
    write_cursor(path, Cursor(200, 6, 2))
    assert read_cursor(path) == Cursor(200, 6, 2)
    assert list(tmp_path.iterdir()) == [path]


def test_a_cursor_that_cannot_be_read_is_the_start(tmp_path: Path) -> None:
    path = tmp_path / "w.native.cursor"
    for content in (b"", b"\x00" * 20, b'{"offset": -1, "seq": 2}', b"[1]", b'{"offset": "1", "seq": 2}'):
        path.write_bytes(content)
        assert read_cursor(path) == START


def test_a_cursor_of_an_earlier_version_is_one_of_the_first_segment(tmp_path: Path) -> None:
    path = tmp_path / "w.native.cursor"
    path.write_bytes(b'{"offset": 200, "seq": 6}')
    assert read_cursor(path) == Cursor(200, 6, 1)


def test_dead_records_are_listed_once_each_in_order(tmp_path: Path) -> None:
    path = tmp_path / "w.native.dead"
    assert read_dead(path) == []
    append_dead(path, [dead(4), dead(2)])
    append_dead(path, [dead(2)])
    assert read_dead(path) == [dead(2), dead(4)]


def test_a_torn_line_of_the_dead_list_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "w.native.dead"
    append_dead(path, [dead(1)])
    with path.open("ab") as file:
        file.write(b'{"run_id": "run_1", "seq')
    append_dead(path, [dead(3)])
    assert read_dead(path) == [dead(1), dead(3)]


def test_the_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    write_status_if_possible(tmp_path, SyncStatus(7, "no route", 5))
    assert read_status(tmp_path) == SyncStatus(7, "no route", 5)
