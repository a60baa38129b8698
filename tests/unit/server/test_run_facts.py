"""What a run is does not depend on the order in which its records arrive."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.server.run_facts import Change, ended_by_guests, fold, merged

json_maps = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers()),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | st.integers()),
    max_leaves=8,
)


def _state(writer: str, seq: int, time_ms: int, status: str, **fields: object) -> Change:
    return Change(writer, seq, time_ms, RecordKind.STATE, {"status": status, **fields})


def _config(writer: str, seq: int, time_ms: int, **values: object) -> Change:
    return Change(writer, seq, time_ms, RecordKind.CONFIG, {"set": values})


@st.composite
def _histories(draw: st.DrawFn) -> list[Change]:
    changes = []
    for writer in ("w1", "w2"):
        for seq in range(1, draw(st.integers(0, 5)) + 1):
            status = draw(st.sampled_from(RunStatus))
            body = {"status": status, "config": draw(json_maps), "tags": draw(st.lists(st.sampled_from("xy")))}
            changes.append(Change(writer, seq, draw(st.integers(0, 9)), RecordKind.STATE, body))
    return changes


@given(_histories(), st.randoms(use_true_random=False))
def test_a_run_is_the_same_however_its_records_arrive(history: list[Change], shuffler: Any) -> None:
    shuffled = history.copy()
    shuffler.shuffle(shuffled)
    assert fold("r", shuffled) == fold("r", history)


@given(_histories())
def test_folding_changes_no_record(history: list[Change]) -> None:
    assert fold("r", history) == fold("r", history)


def test_a_run_that_nobody_named_is_called_by_its_id() -> None:
    facts = fold("run_7", [])
    assert (facts.name, facts.project, facts.status) == ("run_7", "default", RunStatus.CREATED)


def test_a_clock_that_steps_back_does_not_reopen_a_run() -> None:
    facts = fold("r", [_state("w1", 1, 5_000, "running"), _state("w1", 2, 1_000, "finished")])
    assert facts.status is RunStatus.FINISHED


def test_a_second_writer_that_joins_later_opens_the_run_again_and_keeps_its_name() -> None:
    history = [
        _state("w1", 1, 1, "running", name="mine", project="p"),
        _state("w1", 2, 2, "interrupted", reason="killed"),
        _state("w2", 1, 3, "running"),
    ]
    facts = fold("r", history)
    assert (facts.name, facts.project, facts.status, facts.reason) == ("mine", "p", RunStatus.RUNNING, None)


def test_a_guest_neither_opens_nor_ends_a_run_but_its_failure_is_one() -> None:
    opened, ended = _state("w1", 1, 1, "running"), _state("w1", 2, 5, "finished")
    joined, left = (
        _state("g", 1, 2, "running", guest=True, config={"rank": 1}),
        _state("g", 2, 3, "finished", guest=True),
    )
    failed = _state("g", 2, 3, "failed", guest=True, reason="out of memory")
    assert fold("r", [joined]).status is RunStatus.RUNNING
    assert fold("r", [opened, joined, left]).status is RunStatus.RUNNING
    assert fold("r", [opened, ended, _state("g", 1, 9, "running", guest=True)]).status is RunStatus.FINISHED
    broken = fold("r", [opened, joined, failed])
    assert (broken.status, broken.reason, broken.config) == (RunStatus.FAILED, "out of memory", {"rank": 1})
    assert fold("r", [opened, joined, failed, ended]).status is RunStatus.FINISHED


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        (["finished"], "finished"),
        (["finished", None], "running"),
        (["finished", "finished"], "finished"),
        (["failed", "finished"], "failed"),
        (["finished", "interrupted"], "interrupted"),
    ],
)
def test_a_run_that_only_guests_opened_ends_with_the_last_of_them_as_the_worst(
    ends: list[str | None], status: str
) -> None:
    history = []
    for number, end in enumerate(ends):
        history.append(_state(f"g{number}", 1, 1 + number, "running", guest=True))
        history += [_state(f"g{number}", 2, 10 + number, end, guest=True, reason=f"of {number}")] if end else []
    assert ended_by_guests(fold("r", history), history).status == status
    assert ended_by_guests(fold("r", []), []).status is RunStatus.CREATED


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("g", "failed", "bad data"), ("o", "interrupted", "SIGTERM")),
        (("g", "failed", "bad data"), ("o", "failed", "connection closed by peer")),
        (("o", "failed", "bad data"), ("g", "failed", "connection closed by peer")),
    ],
)
def test_of_ranks_that_fall_together_the_first_failure_is_the_runs(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    opened = [_state("o", 1, 1, "running"), _state("g", 1, 2, "running", guest=True)]
    ends = [
        _state(writer, 2, 10 + place, status, reason=reason, **({"guest": True} if writer == "g" else {}))
        for place, (writer, status, reason) in enumerate((first, second))
    ]
    run = fold("r", opened + ends)
    assert (run.status, run.reason) == (RunStatus.FAILED, "bad data")
    again = _state("o2", 1, 20, "running", resumed=True)
    assert fold("r", [*opened, *ends, again]).status is RunStatus.RUNNING
    alone = [replace(end, body={**end.body, "guest": True}) for end in opened + ends]
    assert ended_by_guests(fold("r", alone), alone).reason == "bad data"


def test_config_is_merged_deeply_and_tags_are_replaced() -> None:
    history = [
        _state("w1", 1, 1, "running", config={"a": {"x": 1, "y": 1}, "b": 1}, tags=["one", "two"]),
        _config("w1", 2, 2, a={"y": 2}, b={"z": 3}),
        Change("w1", 3, 3, RecordKind.TAGS, {"tags": ["three"]}),
    ]
    facts = fold("r", history)
    assert facts.config == {"a": {"x": 1, "y": 2}, "b": {"z": 3}}
    assert facts.tags == ["three"]


def test_a_writer_that_does_not_know_all_tags_adds_and_removes_its_own() -> None:
    history = [
        _state("w1", 1, 1, "running", tags=["one", "two"]),
        Change("w2", 1, 2, RecordKind.TAGS, {"tags": ["three"], "add": ["three", "one"]}),
        Change("w3", 1, 3, RecordKind.TAGS, {"tags": [], "remove": ["two", "never there"]}),
    ]
    assert fold("r", history).tags == ["one", "three"]


@given(json_maps, json_maps)
def test_merging_twice_is_merging_once(config: dict[str, Any], news: dict[str, Any]) -> None:
    once = merged(config, news)
    assert merged(once, news) == once
