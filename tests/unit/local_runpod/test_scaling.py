"""How many workers an endpoint should have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.local_runpod.job_store import Census
from flashtrial.local_runpod.scaling import Limits, Plan, WorkerFacts, plan

pytestmark = pytest.mark.unit

LIMITS = Limits(workers_min=0, workers_max=3, idle_timeout_s=60, concurrency=2)


def idle(worker_id: str, since_s: float) -> WorkerFacts:
    return WorkerFacts(worker_id, is_leaving=False, idle_since_s=since_s)


def busy(worker_id: str) -> WorkerFacts:
    return WorkerFacts(worker_id, is_leaving=False, idle_since_s=None)


def leaving(worker_id: str) -> WorkerFacts:
    return WorkerFacts(worker_id, is_leaving=True, idle_since_s=None)


def test_without_work_nobody_is_started() -> None:
    assert plan(LIMITS, Census(), [], 0) == Plan(0, (), None)


@pytest.mark.parametrize(("queued", "start"), [(1, 1), (2, 1), (3, 2), (100, 3)])
def test_enough_for_all_jobs_at_once_up_to_the_maximum(queued: int, start: int) -> None:
    assert plan(LIMITS, Census(queued), [], 0).start == start


def test_the_minimum_is_kept_warm_but_never_above_the_maximum() -> None:
    assert plan(Limits(2, 3, 60, 1), Census(), [], 0).start == 2
    assert plan(Limits(5, 3, 60, 1), Census(), [], 0).start == 3


def test_those_that_start_already_count() -> None:
    assert plan(LIMITS, Census(3), [busy("a"), busy("b")], 0).start == 0


def test_one_that_is_idle_for_long_enough_is_ended() -> None:
    assert plan(LIMITS, Census(), [idle("a", 0)], 59) == Plan(0, (), 60)
    assert plan(LIMITS, Census(), [idle("a", 0)], 60) == Plan(0, ("a",), None)


def test_the_longest_idle_goes_first_and_the_minimum_stays() -> None:
    assert plan(Limits(1, 3, 60, 1), Census(), [idle("a", 5), idle("b", 0)], 100).end == ("b",)


def test_an_idle_one_is_kept_while_its_work_waits() -> None:
    assert plan(LIMITS, Census(1), [idle("a", 0)], 1000) == Plan(0, (), None)


def test_one_that_holds_a_job_is_never_ended() -> None:
    assert plan(LIMITS, Census(0, {"a": 1}), [idle("a", 0)], 1000).end == ()


def test_above_a_lowered_maximum_idle_ones_go_at_once() -> None:
    assert plan(Limits(0, 1, 60, 1), Census(), [idle("a", 0), idle("b", 1)], 2).end == ("a",)


def test_one_that_is_leaving_goes_when_its_hands_are_empty_and_is_replaced() -> None:
    assert plan(LIMITS, Census(1, {"a": 1}), [leaving("a")], 0) == Plan(1, (), None)
    assert plan(LIMITS, Census(1), [leaving("a")], 0) == Plan(1, ("a",), None)


@given(st.integers(0, 20), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.integers(0, 6))
def test_the_maximum_is_never_exceeded_and_work_never_waits_with_nobody_to_do_it(
    queued: int, least: int, most: int, concurrency: int, running: int
) -> None:
    workers = [busy(f"w{number}") for number in range(min(running, most))]
    start = plan(Limits(least, most, 60, concurrency), Census(queued), workers, 0).start
    assert len(workers) + start <= most
    assert queued == 0 or most == 0 or len(workers) + start > 0
