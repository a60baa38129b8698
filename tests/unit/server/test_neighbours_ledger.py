"""The neighbours' ledger: a line's number is the same for ever, and never another line's."""

from pathlib import Path

import pytest

from flashtrial.server.neighbours.ledger import Ledger

pytestmark = pytest.mark.unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "neighbours.db"


def test_a_line_that_comes_again_has_the_number_that_it_had(path: Path) -> None:
    assert Ledger(path).number_lines("r", "pluto", [b"a", b"b", b"a"]) == [1, 2, 1]
    assert Ledger(path).number_lines("r", "pluto", [b"b", b"c"]) == [2, 3]


def test_what_may_come_twice_has_a_new_number_each_time(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.number_lines("r", "pluto", [None, b"a", None]) == [1, 2, 3]
    assert ledger.number_lines("r", "pluto", [None, b"a"]) == [4, 2]


def test_runs_and_protocols_count_apart(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.number_lines("r", "pluto", [b"a"]) == [1]
    assert ledger.number_lines("r", "mlflow", [b"b"]) == [1]
    assert ledger.number_lines("s", "pluto", [b"b"]) == [1]


def test_secret_and_epoch_outlive_the_process_and_not_the_file(path: Path) -> None:
    ledger = Ledger(path)
    before = (ledger.secret, ledger.epoch)
    assert (Ledger(path).secret, Ledger(path).epoch) == before
    other = Ledger(path.with_name("other.db"))
    assert other.secret != before[0]
    assert other.epoch != before[1]


def test_a_runs_number_is_its_own_for_ever(path: Path) -> None:
    assert Ledger(path).numbers_of(["new", "old"]) == {"old": 1, "new": 2}
    assert Ledger(path).numbers_of(["newest", "new"]) == {"new": 2, "newest": 3}
    assert [Ledger(path).run_of(number) for number in (1, 2, 3, 4)] == ["old", "new", "newest", None]


def test_facts_are_replaced_merged_and_taken_out(path: Path) -> None:
    ledger = Ledger(path)
    ledger.set_fact("r", "tags", {"a": "1", "b": "2"})
    ledger.merge_fact("r", "tags", {"a": None, "c": "3"})
    assert ledger.fact("r", "tags") == {"b": "2", "c": "3"}
    assert ledger.fact("r", "none") is None
    assert ledger.facts_of(["r", "s"], "tags") == {"r": {"b": "2", "c": "3"}}


def test_the_file_is_its_owners_alone(path: Path) -> None:
    assert Ledger(path).epoch
    assert path.stat().st_mode & 0o077 == 0
