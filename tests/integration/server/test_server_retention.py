"""What retention leaves alone: what somebody still uses, or has not had the time to see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.protocol.records import encode_batches, encode_record
from flashtrial.protocol.trials import ExperimentReport, ExperimentStatus, TrialReport, TrialStatus
from flashtrial.server.ingest_body import parse_msgpack
from flashtrial.server.repository import Repository
from flashtrial.server.retention import RetentionRules
from flashtrial.testing.clock import FakeClock
from testkit.tracking_server import batch, state

pytestmark = pytest.mark.integration

DAY_S = 24 * 3600
RULES = RetentionRules(days=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def repository(flashtrial_home: Path, clock: FakeClock) -> Iterator[Repository]:
    repository = Repository(flashtrial_home / "server.db", clock, lambda _: None)
    repository.start()
    yield repository
    repository.stop()


def _log(repository: Repository, run_id: str, *frames: bytes) -> None:
    [result] = repository.ingest(parse_msgpack(encode_batches([batch(run_id, *frames)])).batches).result(20)
    assert (result.refused, result.error) == ((), None)


def _removed(repository: Repository) -> tuple[str, ...]:
    return repository.retain(RULES).result(20).run_ids


def test_what_was_logged_long_ago_and_came_today_is_kept_for_its_time(repository: Repository, clock: FakeClock) -> None:
    _log(repository, "offline", state(1, "finished"))  # in 1970, by its clock
    clock.advance(DAY_S / 2)
    assert _removed(repository) == ()
    clock.advance(DAY_S)
    assert _removed(repository) == ("offline",)


def test_trials_stay_as_long_as_their_controller_lives(repository: Repository, clock: FakeClock) -> None:
    experiment = ExperimentReport("exp", 1, 1, ExperimentStatus.RUNNING)
    _log(repository, "controller", state(1, "running"), encode_record(2, "data", 2, experiment.body()))
    trial = TrialReport("exp", 1, 1, 1, TrialStatus.FINISHED)
    _log(repository, "trial", state(1, "finished"), encode_record(2, "data", 2, trial.body()))
    clock.advance(2 * DAY_S)
    assert _removed(repository) == ()
    _log(repository, "controller", state(3, "finished"))
    assert _removed(repository) == ("trial",)


def test_a_run_that_goes_on_is_kept_however_old_it_is(repository: Repository, clock: FakeClock) -> None:
    _log(repository, "resumed", state(1, "finished"))
    _log(repository, "resumed", state(2, "running", resumed=True))
    clock.advance(9 * DAY_S)
    assert _removed(repository) == ()
    _log(repository, "resumed", state(3, "finished"))
    assert _removed(repository) == ()
    clock.advance(2 * DAY_S)
    assert _removed(repository) == ("resumed",)
