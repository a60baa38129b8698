"""Who the instance of a home is, and that a dead one is never taken for it."""

import json
from pathlib import Path

import pytest

from flashtrial.cli import instance
from flashtrial.cli.instance import AlreadyRunning, Instance, NotRunning

SOMEONE = Instance(4711, "http://127.0.0.1:8787", 8787, 1_700_000_000_000, "0.1.0")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "instance-home"
    path.mkdir()
    return path


def test_what_is_written_is_found_while_the_claim_is_held(home: Path) -> None:
    with instance.claim(home):
        instance.write(home, SOMEONE)
        assert instance.find(home) == SOMEONE
        assert instance.require(home) == SOMEONE


def test_the_file_has_the_fields_that_others_read(home: Path) -> None:
    with instance.claim(home):
        instance.write(home, SOMEONE)
        fields = json.loads((home / "instance.json").read_bytes())
    assert {"pid", "url", "port", "started_at_ms", "version"} <= set(fields)


def test_the_file_is_gone_after_a_clean_end(home: Path) -> None:
    with instance.claim(home):
        instance.write(home, SOMEONE)
    assert not (home / "instance.json").exists()
    assert instance.find(home) is None


def test_a_file_whose_owner_was_killed_is_not_believed(home: Path) -> None:
    instance.write(home, SOMEONE)
    (home / "up.lock").touch()
    assert instance.find(home) is None
    with pytest.raises(NotRunning, match="flashtrial up"):
        instance.require(home)


def test_a_claim_clears_what_a_killed_predecessor_left(home: Path) -> None:
    instance.write(home, SOMEONE)
    with instance.claim(home):
        assert instance.find(home) is None


def test_a_second_claim_is_refused_while_the_first_is_held(home: Path) -> None:
    with instance.claim(home):
        instance.write(home, SOMEONE)
        with pytest.raises(AlreadyRunning), instance.claim(home):
            pytest.fail("claimed twice")
        assert instance.find(home) == SOMEONE, "the refused claim must not clear the holder's file"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": "one"}', "null", '{"pid": 1}'])
def test_a_damaged_file_is_no_instance(home: Path, content: str) -> None:
    with instance.claim(home):
        (home / "instance.json").write_text(content)
        assert instance.find(home) is None


def test_a_home_that_was_never_made_has_no_instance(tmp_path: Path) -> None:
    assert instance.find(tmp_path / "nowhere") is None
