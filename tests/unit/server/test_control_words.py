"""Words and values of control: every status of ours has a documented one, and what is kept comes back as it was."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.protocol.control import Command, CommandKind, CommandState, Receipt, Refusal
from flashtrial.protocol.trials import ExperimentStatus, TrialStatus
from flashtrial.server.control.epochs import Post
from flashtrial.server.control.json_views import is_storable
from flashtrial.server.control.presence import LINGERS_S, Presence
from flashtrial.server.dispatcher import words
from flashtrial.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def test_every_word_of_ours_has_a_documented_one() -> None:
    assert words.RUN_STATUS.keys() == set(TrialStatus)
    assert words.EXPERIMENT_STATUS.keys() == set(ExperimentStatus)
    assert words.TASK_STATUS.keys() == set(CommandState)
    assert words.REFUSAL_STATUS.keys() == set(Refusal)
    assert words.DONE_MESSAGE.keys() == set(CommandKind)


def test_a_run_has_ended_once_it_neither_waits_nor_goes_on() -> None:
    ended = {status.value for status in words.ShownStatus if words.ended_by(status)}
    assert ended == {"COMPLETED", "FAILED", "STOPPED", "KILLED"}


@pytest.mark.parametrize("value", [math.nan, math.inf, {"x": [-math.inf]}, 2**64, -(2**63) - 1, {"x": b"y"}, {1: 2}])
def test_what_json_does_not_give_back_is_not_storable(value: Any) -> None:
    assert not is_storable(value)


@pytest.mark.parametrize(("depth", "expected"), [(64, True), (65, False), (5000, False)])
def test_what_is_nested_too_deeply_is_not_storable(depth: int, expected: bool) -> None:
    value: Any = {}
    for _ in range(depth - 1):
        value = [value]
    assert is_storable(value) is expected


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(config=st.none() | st.dictionaries(st.text(), _JSON, max_size=3), version=st.none() | st.integers(0))
def test_a_command_is_what_an_inbox_says_of_it(config: dict[str, Any] | None, version: int | None) -> None:
    fields = {"id": "c", "run_id": 1, "kind": "clone-modify", "expires_ms": 9, "seen_version": version}
    command = Command.of({**fields, "config": config, "warm_start": True, "number": 4, "of_a_newer_server": 1})
    assert command == Command("c", 1, CommandKind.CLONE_MODIFY, 9, version, config, warm_start=True)
    assert is_storable(config)


def test_a_receipt_settles_one_way_or_the_other() -> None:
    assert Receipt("c", 1).state is CommandState.DONE
    assert Receipt("c", 1, Refusal.STALE).state is CommandState.REFUSED
    assert [state for state in CommandState if not state.is_settled] == [CommandState.PENDING]


def test_a_controller_is_connected_while_it_listens_and_a_little_after() -> None:
    clock, post = FakeClock(), Post(1, 1)
    presence = Presence(clock)
    assert not presence.is_connected(post)
    with presence.listening(post), presence.listening(post):
        clock.advance(10 * LINGERS_S)
        assert presence.is_connected(post)
    assert presence.is_connected(post)
    assert not presence.is_connected(Post(1, 2))
    clock.advance(LINGERS_S)
    assert not presence.is_connected(post)
