"""Which run an `init` means: new ones, those that go on, forks, and the one that ranks share."""

from pathlib import Path
from typing import Any

import pytest

import flashtrial
from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.runs.identity import Asked, Identity, Role, identify
from testkit.journals import Init, bodies

pytestmark = pytest.mark.unit

SECOND = {"RANK": "1", "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("asked", "environment", "identity"),
    [
        (Asked("r", None), {}, Identity("r", is_resumed=True)),
        (Asked("r", True), {}, Identity("r", is_resumed=True)),
        (Asked("r", False), {}, Identity("r", is_new=True)),
        (Asked("r", None), SECOND, Identity("r", Role.GUEST)),
        (Asked("r", True), SECOND, Identity("r", is_resumed=True)),
        (Asked(None, None, settled="s"), {}, Identity("s", is_new=True, is_resumed=True)),
        (Asked(None, None, settled="s"), SECOND, Identity("s", Role.GUEST, is_new=True)),
        (Asked("r", None, settled="s"), {}, Identity("r", is_resumed=True)),
        (Asked(None, None, callers="c"), {}, Identity("c", Role.GUEST, is_callers=True)),
        (Asked(None, True, callers="c"), {}, Identity("c", is_resumed=True, is_callers=True)),
        (Asked("r", None, callers="c"), {}, Identity("r", is_resumed=True)),
    ],
)
def test_a_run_that_is_named_is_that_one(asked: Asked, environment: dict[str, str], identity: Identity) -> None:
    assert identify(asked, environment) == identity


def test_a_run_that_nobody_named_is_a_new_one_each_time() -> None:
    first, second = identify(Asked(None, None), {}), identify(Asked(None, None, turn=2), {})
    assert first.is_new
    assert first.role is Role.OWNER
    assert first.run_id != second.run_id


def test_the_call_that_is_under_way_is_left_by_saying_so() -> None:
    assert identify(Asked(None, False, callers="c"), {}).is_new


def test_a_rank_that_shares_nothing_with_the_others_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    identity = identify(Asked(None, None), SECOND)
    assert (identity.role, identity.is_new) == (Role.OWNER, True)
    assert "FLASHTRIAL_RUN_ID" in caplog.text


def test_ranks_of_one_torchrun_share_a_run_and_their_next_one_is_another() -> None:
    launch = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
    first = identify(Asked(None, None), {**launch, "RANK": "0"})
    second = identify(Asked(None, None), {**launch, "RANK": "1"})
    assert (first.role, second.role) == (Role.OWNER, Role.GUEST)
    assert first.run_id == second.run_id
    assert identify(Asked(None, None, turn=2), {**launch, "RANK": "0"}).run_id != first.run_id
    restarted = identify(Asked(None, None), {**launch, "RANK": "0", "TORCHELASTIC_RESTART_COUNT": "1"})
    assert (restarted.run_id, restarted.is_resumed) == (first.run_id, True)


def test_ranks_on_several_machines_share_nothing_that_is_surely_theirs() -> None:
    launch = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2"}
    assert identify(Asked(None, None), launch).run_id != identify(Asked(None, None), launch).run_id


def test_a_fork_says_what_it_comes_from(outbox: Path, init: Init) -> None:
    init(fork_run_id="run_a", fork_step=7, config={"lr": 1})
    [opening] = bodies(outbox, "state")
    assert opening["fork"] == {"run_id": "run_a", "step": 7, "inherit_config": True, "inherit_tags": False}
    assert "resumed" not in opening


@pytest.mark.parametrize(
    "arguments", [{"fork_step": 7}, {"fork_run_id": "a", "run_id": "b"}, {"fork_run_id": ""}, {"resume": True}]
)
def test_what_is_no_fork_and_no_resumption_is_refused(init: Init, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        init(**arguments)


@pytest.mark.parametrize(("fork_step", "first"), [(None, 0), (9, 10), (-1, 0)])
def test_a_fork_counts_on_from_the_step_that_it_begins_at(
    outbox: Path, init: Init, fork_step: int | None, first: int
) -> None:
    init(fork_run_id="run_x", fork_step=fork_step).log({"x": 1.0})
    assert [body["step"] for body in bodies(outbox, "metric")] == [first]


def test_going_on_with_a_run_says_so(outbox: Path, init: Init) -> None:
    init(run_id="run_x")
    assert bodies(outbox, "state")[0]["resumed"] is True


def test_the_run_of_the_variables_is_the_one_that_is_opened(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHTRIAL_RUN_ID", "run_of_the_launcher")
    assert init().id == "run_of_the_launcher"
    assert init(run_id="another").id == "another"


def test_ops_are_the_runs_that_are_open(init: Init) -> None:
    first, second = init(), init()
    assert flashtrial.ops[-2:] == [first, second]
    first.finish()
    assert first not in flashtrial.ops
