"""Directories kept on a volume are complete or absent, and checked when they are taken."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.core.clock import SystemClock
from flashtrial.worker.install.bundles import BundleDamaged, Bundles, Member, Stopped, files_below
from flashtrial.worker.install.lease import Lease

GO = threading.Event()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "package" / "__pycache__").mkdir(parents=True)
    (source / "package" / "module.py").write_text("x = 1\n")
    (source / "package" / "__pycache__" / "module.pyc").write_text("compiled")
    (source / "tool").write_text("#!/bin/sh\n")
    (source / "tool").chmod(0o755)
    (source / "link").symlink_to("package")
    return source


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    return Bundles(tmp_path / "volume", SystemClock())


def publish(bundles: Bundles, source: Path, name: str = "name") -> bool:
    return bundles.publish(name, lambda: files_below(source, "site"), GO)


def unpacked(bundles: Bundles, target: Path, name: str = "name") -> Path:
    assert bundles.unpack(name, target, GO)
    return target / "site"


def left(volume: Path) -> list[str]:
    return [path.name for path in volume.glob(".*")]


def test_bundle_comes_back_as_it_went(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    assert not bundles.has("name")
    assert not bundles.unpack("name", tmp_path / "out", GO)
    assert publish(bundles, source)
    assert bundles.has("name")
    site = unpacked(bundles, tmp_path / "out")
    assert (site / "package" / "module.py").read_text() == "x = 1\n"
    assert (site / "tool").stat().st_mode & 0o777 == 0o755
    assert (site / "link").readlink() == Path("package")
    assert not (site / "package" / "__pycache__").exists()
    assert left(tmp_path / "volume") == []


def test_second_publication_of_a_name_does_nothing(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    assert publish(bundles, source)
    before = (tmp_path / "volume" / "name" / "content.tar").stat()
    assert not publish(bundles, source)
    assert not publish(Bundles(tmp_path / "volume", SystemClock()), source)
    assert (tmp_path / "volume" / "name" / "content.tar").stat() == before


@pytest.mark.parametrize("damage", ["flipped byte", "torn tar", "lost tar", "torn manifest", "emptied tar"])
def test_damaged_bundle_is_noticed_and_replaced(bundles: Bundles, source: Path, tmp_path: Path, damage: str) -> None:
    publish(bundles, source)
    tar, manifest = tmp_path / "volume" / "name" / "content.tar", tmp_path / "volume" / "name" / "manifest.json"
    match damage:
        case "flipped byte":
            content = bytearray(tar.read_bytes())
            content[content.index(b"x = 1")] ^= 1
            tar.write_bytes(content)
        case "torn tar":
            tar.write_bytes(tar.read_bytes()[:700])
        case "emptied tar":
            tar.write_bytes(b"")
        case "lost tar":
            tar.unlink()
        case "torn manifest":
            manifest.write_bytes(manifest.read_bytes()[:10])
    with pytest.raises(BundleDamaged, match="the copy of name on the volume is damaged"):
        bundles.unpack("name", tmp_path / "out", GO)
    assert publish(bundles, source)
    assert (unpacked(bundles, tmp_path / "again") / "package" / "module.py").read_text() == "x = 1\n"
    assert left(tmp_path / "volume") == []


def test_bundle_that_another_has_mended_is_left_alone(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    publish(bundles, source)
    tar = tmp_path / "volume" / "name" / "content.tar"
    good = tar.read_bytes()
    tar.write_bytes(b"")
    with pytest.raises(BundleDamaged):
        bundles.unpack("name", tmp_path / "out", GO)
    tar.write_bytes(good)
    assert not publish(bundles, source)
    assert bundles.has("name")


def test_bundle_cannot_write_outside_of_its_target(bundles: Bundles, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    bundles.publish("name", lambda: [(tmp_path / "file", "../outside")], GO)
    target = tmp_path / "deep" / "out"
    target.mkdir(parents=True)
    with pytest.raises(BundleDamaged, match="outside the destination"):
        bundles.unpack("name", target, GO)
    assert not (tmp_path / "deep" / "outside").exists()


def test_failed_publication_leaves_neither_a_name_nor_rubbish(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    def members() -> Iterator[Member]:
        yield from files_below(source, "site")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        bundles.publish("name", members, GO)
    assert not bundles.has("name")
    assert list((tmp_path / "volume").iterdir()) == []
    assert publish(bundles, source)


def test_failed_replacement_keeps_what_is_there(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    publish(bundles, source)
    tar = tmp_path / "volume" / "name" / "content.tar"
    tar.write_bytes(tar.read_bytes() + b"damage")
    with pytest.raises(BundleDamaged):
        bundles.unpack("name", tmp_path / "out", GO)
    before = tar.read_bytes()

    def members() -> Iterator[Member]:
        yield tmp_path / "absent", "site/absent"

    with pytest.raises(FileNotFoundError):
        bundles.publish("name", members, GO)
    assert tar.read_bytes() == before


def test_content_that_is_not_good_gets_no_name(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    assert not bundles.publish("name", lambda: files_below(source, "site"), GO, lambda: False)
    assert list((tmp_path / "volume").iterdir()) == []


def test_name_that_another_is_writing_is_left_to_him(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    lease = Lease.acquire(tmp_path / "volume", "name", SystemClock(), 60)
    assert lease is not None
    assert not publish(bundles, source)
    lease.release()
    assert publish(bundles, source)


def test_both_of_two_that_think_they_hold_the_lease_do_no_harm(source: Path, tmp_path: Path) -> None:
    first, second = (Bundles(tmp_path / "volume", SystemClock(), ttl_s=0) for _ in range(2))
    done = []

    def members() -> Iterator[Member]:
        done.append(publish(second, source))  # it finds the lease of the first expired
        yield from files_below(source, "site")

    assert not first.publish("name", members, GO)
    assert done == [True]
    assert unpacked(first, tmp_path / "out").is_dir()
    assert left(tmp_path / "volume") == []


def test_what_a_dead_writer_left_is_swept_by_the_next(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    dead = tmp_path / "volume" / ".name.0badcafe"
    dead.mkdir(parents=True)
    (dead / "content.tar").write_text("half")
    other = tmp_path / "volume" / ".name2.0badcafe"
    other.mkdir()
    assert publish(bundles, source)
    assert not dead.exists()
    assert other.exists()


def test_work_that_is_to_stop_stops(bundles: Bundles, source: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        bundles.publish("name", lambda: files_below(source, "site"), stop)
    assert list((tmp_path / "volume").iterdir()) == []
    publish(bundles, source)
    with pytest.raises(Stopped):
        bundles.unpack("name", tmp_path / "out", stop)
    assert bundles.has("name")
