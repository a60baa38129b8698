"""Folders: which of their files are logged, and under which names."""

import os
from pathlib import Path

import pytest

import flashtrial
from flashtrial.tracking.media import folders
from flashtrial.tracking.media.folders import Folder
from flashtrial.tracking.media.staging import release, staged_path
from flashtrial.tracking.media.uploads import pending_files, unsettled_files
from testkit.journals import Init, bodies

pytestmark = pytest.mark.unit

ODD = "a \n%2F..\\ünï🎈.txt"
NO_TEXT = os.fsdecode(b"\xff.bin")  # a name of bytes that no encoding has


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "b.txt").write_text("b")
    (root / "sub" / "deeper" / ODD).write_text("odd")
    return root


def test_a_folder_is_logged_as_its_files_by_their_paths(init: Init, outbox: Path, folder: Path) -> None:
    (folder / NO_TEXT).write_bytes(b"\0")
    run = init()
    run.log({"loss": 1.0, "out": flashtrial.Folder(folder, metadata={"epoch": 3})}, step=7)
    logged = bodies(outbox, "file")
    assert [(body["name"], body["step"], body["type"]) for body in logged] == [
        ("out/b.txt", 7, "artifact"),
        (f"out/sub/deeper/{ODD}", 7, "artifact"),
        ("out/\\udcff.bin", 7, "artifact"),
    ]
    assert [body["meta"] for body in logged] == [{"epoch": 3}] * 3
    paths = [staged_path(outbox, body) for body in logged]
    assert [path.read_bytes() for path in paths if path] == [b"b", b"odd", b"\0"]


def test_links_are_followed_inside_the_folder_and_not_out_of_it(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "c.txt").write_text("c")
    (folder / "inside").symlink_to("b.txt")
    (folder / "sub" / "loop").symlink_to("..")
    (folder / "also").symlink_to("sub")
    (folder / "nothing").symlink_to("missing")
    (folder / "itself").symlink_to("itself")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "out_of_it").symlink_to(tmp_path / "others")
    os.mkfifo(folder / "pipe")
    inside = [f"also/deeper/{ODD}", "b.txt", "inside", "sub/deeper/" + ODD]
    assert [*Folder(folder)] == inside
    assert "5 entries" in caplog.text
    assert [*Folder(folder, follow_links=True)] == sorted([*inside, "out", "out_of_it/c.txt"])


def test_a_folder_that_is_a_link_is_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("out")
    assert len(Folder(tmp_path / "latest")) == 2


def test_what_is_no_folder_of_files_is_refused_with_its_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty" / "within").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no file in the folder .*empty"):
        Folder(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="missing"):
        Folder(tmp_path / "missing")
    with pytest.raises(NotADirectoryError, match=r"b\.txt"):
        Folder(folder / "b.txt")
    monkeypatch.setattr(folders, "MOST_FILES", 1)
    with pytest.raises(ValueError, match="more than 1 files"):
        Folder(folder)


def test_one_file_is_pointed_to_folders_when_it_is_one(folder: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"flashtrial\.Folder"):
        flashtrial.Artifact(folder)


def test_files_that_have_arrived_do_not_wait_although_the_cursor_passes_all_at_once(
    init: Init, outbox: Path, folder: Path
) -> None:
    run = init()
    run.log({"out": Folder(folder)})
    [path] = outbox.glob("*.journal")
    assert pending_files(outbox, path.stem) == 2
    arrived = staged_path(outbox, bodies(outbox, "file")[0])
    assert arrived is not None
    release(arrived)
    assert (pending_files(outbox, path.stem), len(unsettled_files(outbox, path.stem))) == (1, 2)
