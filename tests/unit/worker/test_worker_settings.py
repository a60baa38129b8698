"""What an operator may set for GPUs, and what comes of calls that concern them."""

import pytest

from flashtrial.core.errors import ConfigurationError
from flashtrial.process.outcome import Died, Failure, Raised
from flashtrial.protocol.child import Blame
from flashtrial.protocol.execution import FailureKind
from flashtrial.worker.base_executor import damage_by, spoils, without_seat
from flashtrial.worker.gpu.damage import Damage
from flashtrial.worker.gpu.policy import NoSeat, Placement
from flashtrial.worker.worker_settings import WorkerSettings

pytestmark = pytest.mark.unit


def test_gpus_are_managed_only_when_asked() -> None:
    assert WorkerSettings().gpu_placement is Placement.UNMANAGED
    assert WorkerSettings.from_environment().gpu_placement is Placement.UNMANAGED


@pytest.mark.parametrize("placement", list(Placement))
def test_a_placement_is_set_by_its_name(monkeypatch: pytest.MonkeyPatch, placement: Placement) -> None:
    monkeypatch.setenv("FLASHTRIAL_GPU_PLACEMENT", placement.value)
    assert WorkerSettings.from_environment().gpu_placement is placement


def test_another_placement_is_refused_with_the_names_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHTRIAL_GPU_PLACEMENT", "Exclusive")
    with pytest.raises(
        ConfigurationError, match="FLASHTRIAL_GPU_PLACEMENT=Exclusive is none of unmanaged, exclusive, shared"
    ):
        WorkerSettings.from_environment()


def test_a_worker_whose_gpus_are_broken_is_given_up_and_the_call_may_be_sent_again() -> None:
    execution = without_seat(NoSeat("all 2 GPUs are broken", needs_new_worker=True), "i")
    assert isinstance(execution.result, Failure)
    assert execution.result.kind.may_be_retried
    assert execution.refresh_worker
    assert execution.instance_id == "i"


def test_a_call_that_no_gpu_is_large_enough_for_is_the_callers_to_change() -> None:
    execution = without_seat(NoSeat("it needs 90,000 MiB"))
    assert isinstance(execution.result, Failure)
    assert execution.result.kind is FailureKind.REQUEST
    assert "90,000 MiB" in execution.result.message
    assert not execution.refresh_worker


def test_only_an_error_that_was_raised_tells_of_damage() -> None:
    poison = Raised(Blame.USER_CODE, "CUDA error: an illegal memory access was encountered")
    assert damage_by(poison) is Damage.PROCESS
    assert spoils(poison)
    assert not spoils(Raised(Blame.USER_CODE, "CUDA out of memory"))
    assert not spoils(Died(-9))
