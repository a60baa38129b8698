"""What of uv's cache travels over the volume, with a cache laid out as uv 0.13 does."""

import threading
from pathlib import Path

import pytest

from flashtrial.worker.cache_sync import CacheSync
from flashtrial.worker.layers import Layers

GO = threading.Event()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume"


def sync(volume: Path, home: Path, endpoint: str = "ep") -> CacheSync:
    return CacheSync(volume, endpoint, Layers(home / "layers"))


def cached(cache: Path, name: str, version: str, archive: str, where: str = "wheels-v8/pypi") -> None:
    """A wheel as uv keeps it: unpacked, and a pointer to it."""
    unpacked = cache / "archive-v0" / archive / name
    unpacked.mkdir(parents=True)
    (unpacked / "__init__.py").write_text(f"version = {version!r}\n")
    place = cache / where / name
    place.mkdir(parents=True, exist_ok=True)
    up = "/".join([".."] * len(place.relative_to(cache).parts))
    (place / f"{version}-py3-none-any").symlink_to(f"{up}/archive-v0/{archive}")
    (place / f"{version}-py3-none-any.msgpack").write_text("pointer")


@pytest.mark.parametrize("where", ["wheels-v8/pypi", "wheels-v8/index/0a1b2c"])
def test_package_travels_from_cache_to_cache(tmp_path: Path, volume: Path, where: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    cached(ours, "tiny", "1.0", "aaa", where)
    cached(ours, "tiny", "1.0.1", "bbb", where)
    cached(ours, "other", "1.0", "ccc", where)
    (ours / "simple-v18").mkdir()
    assert sync(volume, tmp_path).publish_package(ours, "tiny==1.0", GO)
    assert sync(volume, tmp_path).fill(theirs, ["tiny==1.0", "other==1.0", "absent==3"], GO) == 1
    pointer = theirs / where / "tiny" / "1.0-py3-none-any"
    assert (pointer / "tiny" / "__init__.py").read_text() == "version = '1.0'\n"
    assert sorted(path.name for path in (theirs / "archive-v0").iterdir()) == ["aaa"]
    assert not (theirs / where / "other").exists()
    assert sorted(path.name for path in theirs.iterdir()) == ["archive-v0", "wheels-v8"]


def test_wheel_built_from_source_travels_without_the_source(tmp_path: Path, volume: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    built = ours / "sdists-v11" / "pypi" / "tiny" / "1.0" / "revision"
    (built / "src").mkdir(parents=True)
    (built / "src" / "large.c").write_text("int x;")
    (built / "tiny-1.0-py3-none-any.whl").write_text("wheel")
    (built.parent / "revision.http").write_text("pointer")
    assert sync(volume, tmp_path).publish_package(ours, "Tiny==1.0", GO)
    assert sync(volume, tmp_path).fill(theirs, ["Tiny==1.0"], GO) == 1
    there = theirs / built.relative_to(ours)
    assert (there / "tiny-1.0-py3-none-any.whl").read_text() == "wheel"
    assert (there.parent / "revision.http").exists()
    assert not (there / "src").exists()


def test_package_that_the_cache_has_or_never_had_is_not_touched(tmp_path: Path, volume: Path) -> None:
    cache = tmp_path / "cache"
    cached(cache, "tiny", "1.0", "aaa")
    mine = sync(volume, tmp_path)
    assert not mine.publish_package(cache, "absent==1.0", GO)
    assert mine.publish_package(cache, "tiny==1.0", GO)
    assert not mine.publish_package(cache, "tiny==1.0", GO)
    assert mine.fill(cache, ["tiny==1.0"], GO) == 0


def test_endpoints_do_not_see_each_others_caches(tmp_path: Path, volume: Path) -> None:
    cached(tmp_path / "ours", "tiny", "1.0", "aaa")
    sync(volume, tmp_path, "first").publish_package(tmp_path / "ours", "tiny==1.0", GO)
    assert sync(volume, tmp_path, "second").fill(tmp_path / "theirs", ["tiny==1.0"], GO) == 0
    assert sync(volume, tmp_path, "").fill(tmp_path / "theirs", ["tiny==1.0"], GO) == 0
    assert sync(volume, tmp_path, "../first").fill(tmp_path / "theirs", ["tiny==1.0"], GO) == 1


def test_damaged_package_is_skipped_and_published_anew(tmp_path: Path, volume: Path) -> None:
    cached(tmp_path / "ours", "tiny", "1.0", "aaa")
    sync(volume, tmp_path).publish_package(tmp_path / "ours", "tiny==1.0", GO)
    tar = next(volume.rglob("content.tar"))
    tar.write_bytes(tar.read_bytes()[:-4096] + b"x" * 4096)
    mine = sync(volume, tmp_path)
    assert mine.fill(tmp_path / "theirs", ["tiny==1.0"], GO) == 0
    assert not (tmp_path / "theirs" / "archive-v0").exists()
    assert mine.publish_package(tmp_path / "ours", "tiny==1.0", GO)
    assert mine.fill(tmp_path / "theirs", ["tiny==1.0"], GO) == 1


def test_layer_that_was_written_into_is_not_published(tmp_path: Path, volume: Path) -> None:
    layers = Layers(tmp_path / "layers")
    beside = layers.new_beside("key")
    (beside / "site" / "tiny.py").write_text("x = 1\n")
    layers.publish(beside, "key", ["tiny"], ["tiny==1.0"])
    mine = sync(volume, tmp_path)
    (layers.place("key") / "site" / "cache.json").write_text("{}")
    assert not mine.publish_layer("key", GO)
    (layers.place("key") / "site" / "cache.json").unlink()
    assert mine.publish_layer("key", GO)
    assert (volume / ".flashtrial" / "layers" / "key" / "manifest.json").is_file()


def test_layer_travels_with_its_manifest(tmp_path: Path, volume: Path) -> None:
    layers = Layers(tmp_path / "one" / "layers")
    beside = layers.new_beside("key")
    (beside / "site" / "tiny.py").write_text("x = 1\n")
    made = layers.publish(beside, "key", ["tiny"], ["tiny==1.0"])
    sync(volume, tmp_path / "one").publish_layer("key", GO)
    taken = sync(volume, tmp_path / "two").layer("key", GO)
    assert taken is not None
    assert taken.packages == made.packages == ("tiny",)
    assert (taken.paths[0] / "tiny.py").read_text() == "x = 1\n"
    assert Layers(tmp_path / "two" / "layers").find("key") == taken
    assert sync(volume, tmp_path / "two").layer("absent", GO) is None
    assert [path.name for path in (tmp_path / "two" / "layers").iterdir()] == ["key"]
