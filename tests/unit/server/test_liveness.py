"""Whether a run that nobody has ended still lives."""

import pytest

from flashtrial.protocol.trials import RunStatus
from flashtrial.server.liveness import Beat, Owner, Silence, Standing, standing

RUNNING = Standing(RunStatus.RUNNING, None)
SILENCE = Silence(beating_before_ms=1000, others_before_ms=100)


@pytest.mark.parametrize("ended", [status for status in RunStatus if status.is_finished])
def test_a_run_that_its_records_ended_is_never_touched(ended: RunStatus) -> None:
    told = Standing(ended, "as it said")
    assert standing(told, [Owner(0, Beat.GONE, "killed")], SILENCE) == told


def test_a_run_that_sends_no_heartbeats_may_be_silent_for_longer() -> None:
    assert standing(RUNNING, [Owner(100)], SILENCE) == RUNNING
    found = standing(RUNNING, [Owner(99, host="box"), Owner(98)], SILENCE)
    assert found == Standing(RunStatus.INTERRUPTED, "nothing was heard of box since 1970-01-01T00:00:00+00:00")


def test_a_run_that_nobody_began_or_owns_waits_for_ever() -> None:
    created = Standing(RunStatus.CREATED, None)
    assert standing(created, [Owner(0)], SILENCE) == created
    assert standing(created, [Owner(0, Beat.ALIVE)], SILENCE).status is RunStatus.INTERRUPTED
    assert standing(RUNNING, [], SILENCE) == RUNNING


def test_a_run_whose_owner_is_gone_is_interrupted_and_says_why() -> None:
    found = standing(RUNNING, [Owner(5000, Beat.GONE, "process 7 on gpu-1 was killed")], SILENCE)
    assert found == Standing(RunStatus.INTERRUPTED, "process 7 on gpu-1 was killed")


def test_a_silent_owner_is_as_good_as_gone() -> None:
    found = standing(RUNNING, [Owner(999, Beat.ALIVE, host="gpu-1")], SILENCE)
    assert found.status is RunStatus.INTERRUPTED
    assert found.reason == "nothing was heard of gpu-1 since 1970-01-01T00:00:00+00:00"
    assert standing(RUNNING, [Owner(1000, Beat.ALIVE)], SILENCE) == RUNNING


def test_one_owner_that_lives_is_enough_and_the_last_to_go_is_the_reason() -> None:
    gone = Owner(2000, Beat.GONE, "first")
    assert standing(RUNNING, [gone, Owner(3000)], SILENCE) == RUNNING
    assert standing(RUNNING, [gone, Owner(3000, Beat.GONE, "second")], SILENCE).reason == "second"
