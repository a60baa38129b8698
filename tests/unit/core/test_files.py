"""Files are complete or absent; locks are held by one."""

import stat
from pathlib import Path

import pytest

from flashtrial.core.files import Locked, ensure_private_dir, file_lock, write_atomically


def test_a_file_that_is_written_is_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_atomically(path, b"first")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_that_is_held_is_not_given_to_another(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path), pytest.raises(Locked, match="lock"), file_lock(path, wait=False):
        pytest.fail("two hold the lock")
    with file_lock(path, wait=False):
        assert path.exists()


def test_a_directory_made_here_is_its_owners_alone(tmp_path: Path) -> None:
    made = ensure_private_dir(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700


def test_each_directory_made_on_the_way_is_its_owners_alone(tmp_path: Path) -> None:
    """A trainer that comes first makes the home for its outbox; the database is put there later."""
    made = ensure_private_dir(tmp_path / "home" / "outbox")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (made, made.parent)] == [0o700, 0o700]
    (tmp_path / "open").mkdir(mode=0o755)
    ensure_private_dir(tmp_path / "open" / "logs")
    ensure_private_dir(tmp_path / "open")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o755
