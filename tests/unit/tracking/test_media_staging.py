"""Staging: what is kept is what the file held, each content once, and gone when nobody needs it."""

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from flashtrial.tracking.journal.outbox import OutboxUnwritable
from flashtrial.tracking.media.staging import (
    files_dir,
    release,
    set_aside,
    stage_bytes,
    stage_file,
    staged_path,
    sweep,
)


def where(outbox: Path, sha256: str, ref: str) -> Path:
    path = staged_path(outbox, {"sha256": sha256, "staged": ref})
    assert path is not None
    return path


def test_a_file_is_kept_as_it_was_although_it_changes_later(outbox: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"first" * 1000)
    staged = stage_file(outbox, file)
    with file.open("r+b") as opened:
        opened.write(b"other")
    file.unlink()
    kept = where(outbox, staged.sha256, staged.ref).read_bytes()
    assert kept == b"first" * 1000
    assert (staged.sha256, staged.size_bytes) == (hashlib.sha256(kept).hexdigest(), len(kept))


def test_the_same_content_is_on_the_disk_once_however_often_and_from_wherever_it_comes(
    outbox: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"same")
    several = [stage_bytes(outbox, b"same"), stage_file(outbox, file), stage_bytes(outbox, b"same")]
    inodes = {where(outbox, each.sha256, each.ref).stat().st_ino for each in several}
    assert len(inodes) == 1
    assert len({each.ref for each in several}) == 3


def test_a_content_goes_with_the_last_record_that_named_it(outbox: Path) -> None:
    first, second = stage_bytes(outbox, b"x"), stage_bytes(outbox, b"x")
    release(where(outbox, first.sha256, first.ref))
    assert where(outbox, second.sha256, second.ref).read_bytes() == b"x"
    assert (files_dir(outbox) / second.sha256).exists(), "whoever stages it again finds it"
    release(where(outbox, second.sha256, second.ref))
    release(where(outbox, second.sha256, second.ref))
    assert list(files_dir(outbox).iterdir()) == []


def test_threads_that_stage_and_release_one_content_at_once_never_lose_it(outbox: Path) -> None:
    missing: list[str] = []

    def work() -> None:
        for _ in range(100):
            staged = stage_bytes(outbox, b"shared")
            path = where(outbox, staged.sha256, staged.ref)
            if not path.exists():
                missing.append(staged.ref)
            release(path)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert [path.name for path in files_dir(outbox).iterdir() if "." in path.name] == []


def test_a_sparse_file_stays_sparse(outbox: Path, tmp_path: Path) -> None:
    file = tmp_path / "sparse"
    with file.open("wb") as opened:
        opened.truncate(64 * 1024 * 1024)
        opened.seek(32 * 1024 * 1024)
        opened.write(b"middle")
    staged = stage_file(outbox, file)
    kept = where(outbox, staged.sha256, staged.ref)
    assert kept.stat().st_size == file.stat().st_size == staged.size_bytes
    assert kept.stat().st_blocks * 512 < 8 * 1024 * 1024
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == staged.sha256


def test_an_empty_file_is_a_file(outbox: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    staged = stage_file(outbox, tmp_path / "empty")
    assert staged.size_bytes == 0
    assert where(outbox, staged.sha256, staged.ref).read_bytes() == b""


def test_what_is_no_regular_file_is_refused(outbox: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    keeper = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        with pytest.raises(OSError, match="regular") as caught:
            stage_file(outbox, tmp_path / "pipe")
    finally:
        os.close(keeper)
    assert caught.value.errno == errno.EINVAL


def test_a_folder_that_takes_nothing_is_said_and_nothing_half_is_left(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "files").write_text("in the way")
    with pytest.raises(OutboxUnwritable, match="could not be staged"):
        stage_bytes(tmp_path / "outbox", b"x")


@pytest.mark.parametrize("field", ["../../etc/passwd", "a/b", "", "x.y", "\0"])
def test_no_word_of_a_record_leads_out_of_the_folder(outbox: Path, field: str) -> None:
    assert staged_path(outbox, {"sha256": "0" * 64, "staged": field}) is None
    assert staged_path(outbox, {"sha256": field, "staged": "st_1"}) is None
    assert staged_path(outbox, {"sha256": "0" * 64}) is None


def test_what_no_server_takes_is_kept_aside(outbox: Path) -> None:
    staged = stage_bytes(outbox, b"huge")
    set_aside(where(outbox, staged.sha256, staged.ref))
    assert [path.read_bytes() for path in (files_dir(outbox) / "dead").iterdir()] == [b"huge"]


def test_a_sweep_leaves_what_is_young(outbox: Path) -> None:
    staged = stage_bytes(outbox, b"young")
    sweep(outbox, has_journals=False)
    assert where(outbox, staged.sha256, staged.ref).exists()
    release(where(outbox, staged.sha256, staged.ref))
    sweep(outbox, has_journals=False)
    assert not files_dir(outbox).exists()
