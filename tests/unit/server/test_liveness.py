"""Whether a run that nobody has ended still lives."""

import pytest

from flashtrial.protocol.trials import RunStatus
from flashtrial.server.liveness import Beat, Owner, Standing, standing

RUNNING = Standing(RunStatus.RUNNING, None)
DEAF_BEFORE_MS = 1000


@pytest.mark.parametrize("ended", [status for status in RunStatus if status.is_finished])
def test_a_run_that_its_records_ended_is_never_touched(ended: RunStatus) -> None:
    told = Standing(ended, "as it said")
    assert standing(told, [Owner(0, Beat.GONE, "killed")], DEAF_BEFORE_MS) == told


def test_a_run_that_sends_no_heartbeats_is_left_alone() -> None:
    assert standing(RUNNING, [Owner(0)], DEAF_BEFORE_MS) == RUNNING
    assert standing(RUNNING, [], DEAF_BEFORE_MS) == RUNNING


def test_a_run_whose_owner_is_gone_is_interrupted_and_says_why() -> None:
    found = standing(RUNNING, [Owner(5000, Beat.GONE, "process 7 on gpu-1 was killed")], DEAF_BEFORE_MS)
    assert found == Standing(RunStatus.INTERRUPTED, "process 7 on gpu-1 was killed")


def test_a_silent_owner_is_as_good_as_gone() -> None:
    found = standing(RUNNING, [Owner(999, Beat.ALIVE, host="gpu-1")], DEAF_BEFORE_MS)
    assert found.status is RunStatus.INTERRUPTED
    assert found.reason == "nothing was heard of gpu-1 since 1970-01-01T00:00:00+00:00"
    assert standing(RUNNING, [Owner(1000, Beat.ALIVE)], DEAF_BEFORE_MS) == RUNNING


def test_one_owner_that_lives_is_enough_and_the_last_to_go_is_the_reason() -> None:
    gone = Owner(2000, Beat.GONE, "first")
    assert standing(RUNNING, [gone, Owner(3000)], DEAF_BEFORE_MS) == RUNNING
    assert standing(RUNNING, [gone, Owner(3000, Beat.GONE, "second")], DEAF_BEFORE_MS).reason == "second"
