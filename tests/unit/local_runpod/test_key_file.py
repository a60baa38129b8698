"""The key in its file."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flashtrial.core.errors import ConfigurationError
from flashtrial.local_runpod.auth import load_or_make_key

pytestmark = pytest.mark.unit


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    key = load_or_make_key(tmp_path / "home")
    assert load_or_make_key(tmp_path / "home") == key
    assert stat.S_IMODE((tmp_path / "home" / "key").stat().st_mode) == 0o600
    assert len(key) > 40


def test_two_homes_have_two_keys(tmp_path: Path) -> None:
    assert load_or_make_key(tmp_path / "a") != load_or_make_key(tmp_path / "b")


def test_many_that_ask_at_once_get_the_same_key_and_leave_nothing_beside_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_make_key(tmp_path / "home"), range(32)))
    assert len(keys) == 1
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["key"]


def test_a_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    load_or_make_key(tmp_path)
    (tmp_path / "key").chmod(0o644)
    load_or_make_key(tmp_path)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "short", "é" * 40])
def test_a_file_without_a_usable_key_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(ConfigurationError, match=str(tmp_path / "key")):
        load_or_make_key(tmp_path)
