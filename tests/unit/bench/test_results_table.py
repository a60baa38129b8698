"""What `make bench` writes, and what it understands."""

import argparse
from collections.abc import Iterator

import pytest

from benchkit.program import Options, ids, options_of, rows_of
from benchkit.rows import HEADER, Row, failed, table
from benchkit.timing import in_turn, p50_p99

pytestmark = pytest.mark.unit


def row(row_id: str = "P10", **more: object) -> Row:
    return Row(row_id, "log of ten floats", "5 µs", load=1.25, **more)  # type: ignore[arg-type]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_a_row_has_a_cell_for_each_column() -> None:
    full = row(floor="10 µs", peers={"wandb": "196 µs", "aim": "not available"}, ratio=0.5, goal="≤ 0.5 x", met=True)
    given = ["P10", "log of ten floats", "5 µs", "10 µs", "wandb 196 µs<br>aim not available"]
    assert cells(full.markdown()) == [*given, "0.50", "≤ 0.5 x", "yes", "1.2"]
    assert len(cells(row().markdown())) == len(cells(HEADER.splitlines()[0]))


def test_a_goal_is_met_or_not_or_not_set() -> None:
    assert [cells(row(met=met).markdown())[7] for met in (True, False, None)] == ["yes", "**no**", ""]


def test_no_text_breaks_the_table() -> None:
    line = row(floor="a | b\nc").markdown()
    assert "a \\| b c" in line
    assert "\n" not in line


def test_rows_stand_in_the_order_of_their_numbers() -> None:
    lines = table([row("P10"), row("P22"), row("P2", goal="first"), row("P2", goal="second")]).splitlines()[2:]
    assert [(cells(line)[0], cells(line)[6]) for line in lines] == [
        ("P2", "first"), ("P2", "second"), ("P10", ""), ("P22", ""),
    ]  # fmt: skip


def test_a_row_arrives_as_it_was_sent() -> None:
    sent = row(peers={"wandb": "196 µs"}, ratio=0.5, goal="≤ 1", met=False)
    assert Row.decoded(sent.encoded()) == sent


def test_ids_are_understood_in_either_case_and_nonsense_is_refused() -> None:
    assert ids("p10, P11,") == {"P10", "P11"}
    with pytest.raises(argparse.ArgumentTypeError, match="TRACKING"):
        ids("tracking")


def test_arguments_say_what_is_wanted() -> None:
    assert options_of([]) == Options()
    asked = options_of(["--quick", "--only", "P1,P2", "--json"])
    assert asked == Options(quick=True, only=frozenset({"P1", "P2"}), as_json=True)
    assert asked.wants("P2 P3")
    assert not asked.wants("P10")


def good(_options: Options) -> Iterator[Row]:
    yield row("P1")
    yield row("P2")


def broken(_options: Options) -> Iterator[Row]:
    yield row("P3")
    raise ValueError("no such table")


def test_a_measure_that_fails_says_so_and_stops_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(rows_of([("P3", broken), ("P1 P2", good)], Options()))
    assert [made.id for made in rows] == ["P3", "P3", "P1", "P2"]
    assert "no such table" in rows[1].what
    assert rows[1].met is False
    assert "Traceback" in capsys.readouterr().err


def test_only_the_rows_that_are_wanted_are_given() -> None:
    rows = rows_of([("P3", broken), ("P1 P2", good)], Options(only=frozenset({"P2"})))
    assert [made.id for made in rows] == ["P2"]


def test_a_failed_row_is_short_and_never_met() -> None:
    made = failed("P9", "x" * 1000)
    assert made.met is False
    assert len(made.what) <= 300


def test_quantiles_are_those_of_the_nearest_rank() -> None:
    assert p50_p99(range(1, 101)) == (50.5, 99)
    assert p50_p99([3, 1]) == (2, 3)


def test_what_is_compared_is_called_in_turn() -> None:
    called: list[str] = []
    taken = in_turn(2, lambda: called.append("ours"), lambda: called.append("floor"))
    assert called == ["ours", "floor", "ours", "floor"]
    assert [len(each) for each in taken] == [2, 2]
