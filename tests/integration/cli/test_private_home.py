"""What other users of the machine can read of a home: nothing, and least of all the key."""

import stat
from pathlib import Path

import pytest

from testkit import free_port

from .conftest import Flashtrial


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("made_by", ["up", "its owner"])
def test_nobody_else_can_read_the_key_or_a_database(flashtrial_cli: Flashtrial, made_by: str) -> None:
    if made_by == "its owner":
        flashtrial_cli.home.mkdir()
        flashtrial_cli.home.chmod(0o755)
    started = flashtrial_cli("up", "--detach", "--port", str(free_port()))
    assert started.returncode == 0, started.stderr
    assert mode(flashtrial_cli.home) == (0o700 if made_by == "up" else 0o755)
    secret = {path.name: mode(path) for path in flashtrial_cli.home.iterdir() if path.is_file()}
    assert {"key", "server.db", "local_runpod.db", "local_runpod.db-wal"} <= secret.keys()
    assert set(secret.values()) == {0o600}, secret
