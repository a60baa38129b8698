"""The blob store: what was committed is what its hash says, whatever came in between."""

import contextlib
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.core.errors import ConfigurationError, FlashtrialError
from flashtrial.server.files.blobs import (
    ABANDONED_AFTER_S,
    BlobDamaged,
    BlobKey,
    BlobStore,
    NoSuchUpload,
    OutOfPlace,
    StoreFull,
    TooLarge,
)
from flashtrial.server.files.limits import BlobLimits


def key_of(content: bytes) -> BlobKey:
    return BlobKey(hashlib.sha256(content).hexdigest(), len(content))


def store_at(path: Path, **limits: int) -> BlobStore:
    store = BlobStore(path, BlobLimits(**{"reserve_bytes": 0, **limits}))
    store.start()
    return store


def put(store: BlobStore, content: bytes) -> BlobKey:
    key = key_of(content)
    if not store.begin(key).is_complete:
        store.write(key, 0, content)
        store.commit(key)
    return key


def stored(store: BlobStore, key: BlobKey) -> bytes:
    path = store.path_of(key.sha256)
    assert path is not None
    return path.read_bytes()


@given(
    st.binary(max_size=300),
    st.lists(st.one_of(st.tuples(st.integers(0, 320), st.integers(0, 100)), st.just("death"), st.just("begin"))),
)
def test_whatever_chunks_come_in_whatever_order_the_blob_is_whole_or_not_there(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, moves: list[tuple[int, int] | str]
) -> None:
    store = store_at(tmp_path_factory.mktemp("blobs"))
    key = key_of(content)
    store.begin(key)
    for move in moves:
        match move:
            case (int(offset), int(length)):
                with contextlib.suppress(OutOfPlace):
                    store.write(key, offset, content[offset : offset + length])
            case "death":
                store = store_at(store._root)
            case _:
                assert store.begin(key).received_bytes <= len(content)
    assert store.path_of(key.sha256) is None
    state = store.begin(key)
    store.write(key, state.received_bytes, content[state.received_bytes :])
    assert store.commit(key).is_complete
    assert stored(store, key) == content
    assert store.used_bytes == len(content)


def test_what_is_there_is_not_uploaded_again(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    key = put(store, b"once")
    assert store.begin(key).is_complete
    assert store.write(key, 0, b"anything").is_complete
    assert store.commit(key).is_complete
    assert stored(store, key) == b"once"
    assert store.used_bytes == 4


def test_bytes_that_are_not_what_their_hash_says_are_thrown_away(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    key = key_of(b"right")
    store.begin(key)
    store.write(key, 0, b"wrong")
    with pytest.raises(BlobDamaged, match="send it again"):
        store.commit(key)
    assert store.path_of(key.sha256) is None
    assert store.used_bytes == 0
    with pytest.raises(NoSuchUpload):
        store.write(key, 0, b"right")
    assert put(store, b"right") == key


def test_a_commit_that_comes_too_early_and_a_chunk_too_far_say_what_is_there(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    key = key_of(b"0123456789")
    store.begin(key)
    store.write(key, 0, b"0123")
    with pytest.raises(OutOfPlace) as caught:
        store.commit(key)
    assert caught.value.received == 4
    for offset, data in ((5, b"5"), (4, b"x" * 7)):
        with pytest.raises(OutOfPlace) as caught:
            store.write(key, offset, data)
        assert caught.value.received == 4


def test_limits_are_kept(tmp_path: Path) -> None:
    store = store_at(tmp_path, file_bytes=10, run_bytes=15, total_bytes=18)
    with pytest.raises(TooLarge, match="one file"):
        store.begin(key_of(b"x" * 11))
    with pytest.raises(TooLarge, match="this run"):
        store.begin(key_of(b"x" * 10), run_bytes=6)
    put(store, b"a" * 10)
    with pytest.raises(StoreFull):
        store.begin(key_of(b"b" * 9))
    assert store.remove(key_of(b"a" * 10).sha256) == 10
    put(store, b"b" * 9)
    with store.incoming(8) as incoming, pytest.raises(TooLarge):
        incoming.write(b"c" * 9)


def test_a_full_disk_is_said_before_it_is_full(tmp_path: Path) -> None:
    with pytest.raises(StoreFull, match="disk"):
        store_at(tmp_path, reserve_bytes=2**62).begin(key_of(b"x"))


def test_content_of_unknown_size_is_kept_by_its_hash_or_not_at_all(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    with store.incoming() as incoming:
        incoming.write(b"part one, ")
        incoming.write(b"part two")
        key = incoming.commit()
    with store.incoming() as again:
        again.write(b"part one, part two")
        assert again.commit() == key
    with store.incoming() as given_up:
        given_up.write(b"never mind")
    assert stored(store, key) == b"part one, part two"
    assert store.used_bytes == key.size_bytes
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_store_that_starts_beside_another_leaves_what_comes_in_there_and_removes_what_the_dead_left(
    tmp_path: Path,
) -> None:
    store = store_at(tmp_path)
    left = tmp_path / "partial" / "incoming-of-the-dead"
    left.write_bytes(b"half")
    with store.incoming() as incoming:
        incoming.write(b"under way")
        store_at(tmp_path)
        key = incoming.commit()
    assert stored(store, key) == b"under way"
    assert not left.exists()


def test_two_that_bring_the_same_at_once_leave_one_blob(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    content = os.urandom(200_000)
    key = key_of(content)
    failures: list[FlashtrialError] = []

    def bring() -> None:
        try:
            state = store.begin(key)
            while not state.is_complete:
                at = state.received_bytes
                try:
                    state = store.write(key, at, content[at : at + 1000]) if at < len(content) else store.commit(key)
                except (OutOfPlace, NoSuchUpload):
                    state = store.begin(key)
        except FlashtrialError as error:
            failures.append(error)

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert stored(store, key) == content
    assert store.used_bytes == len(content)


def test_uploads_that_nobody_goes_on_with_are_removed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for content in (b"old", b"young"):
        store.begin(key_of(content))
        store.write(key_of(content), 0, content)
    old = tmp_path / "partial" / f"{key_of(b'old').sha256}-3"
    os.utime(old, (0, time.time() - ABANDONED_AFTER_S - 10))
    assert store.sweep() == 3  # as a server does that runs for months
    assert not old.exists()
    assert store.begin(key_of(b"young")).received_bytes == 5
    assert store.used_bytes == store_at(tmp_path).used_bytes == 5


def test_what_a_second_client_found_here_is_not_removed_under_it(tmp_path: Path) -> None:
    """The run that named it is removed between the answer that it is here and the record that names it again."""
    store = store_at(tmp_path)
    found, streamed, alone = (put(store, content) for content in (b"found", b"streamed", b"alone"))
    assert store.begin(found).is_complete
    with store.incoming() as incoming:
        incoming.write(b"streamed")
        assert incoming.commit() == streamed
    assert [store.remove(key.sha256) for key in (found, streamed, alone)] == [0, 0, len(b"alone")]
    assert (stored(store, found), stored(store, streamed)) == (b"found", b"streamed")
    assert store.used_bytes == len(b"found" + b"streamed")
    again = store_at(tmp_path)  # nobody is left there who was told
    assert again.remove(found.sha256) == len(b"found")


@pytest.mark.parametrize("sha256", ["", "../x", "A" * 64, "0" * 63, "0" * 64 + "\n", "0" * 65])
def test_only_hashes_are_names(tmp_path: Path, sha256: str) -> None:
    assert store_at(tmp_path).path_of(sha256) is None
    with pytest.raises(ValueError, match="64"):
        BlobKey(sha256, 1)


def test_limits_come_from_variables() -> None:
    limits = BlobLimits.from_environment({"FLASHTRIAL_MAX_FILE_BYTES": "7", "FLASHTRIAL_MAX_RUN_BYTES": ""})
    assert (limits.file_bytes, limits.run_bytes) == (7, BlobLimits().run_bytes)
    with pytest.raises(ConfigurationError, match="FLASHTRIAL_MAX_TOTAL_BYTES"):
        BlobLimits.from_environment({"FLASHTRIAL_MAX_TOTAL_BYTES": "7 GB"})
