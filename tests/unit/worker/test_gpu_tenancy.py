"""Seats on GPUs: admitted unknown, measured, joined; with pids that can be believed and without."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashtrial.core.gpu.driver import Gpu, GpuHealth, GpuMemory, GpuProcess, GpuReading, NoGpus
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.recorded_gpus import RecordedGpus
from flashtrial.worker.gpu.attribution import Party, by_gain
from flashtrial.worker.gpu.placement import MIB, Admit, Evict, Rules, Wait
from flashtrial.worker.gpu.policy import Placement
from flashtrial.worker.gpu.tenancy import Tenancy, Wish

GPU = Gpu(0, "GPU-a", "H100", 0)
OTHER = Gpu(1, "GPU-b", "H100", 1)
SHARED = Rules(Placement.SHARED, context_bytes=500 * MIB, reserve_bytes=500 * MIB)
FIRST, SECOND, THIRD = (Wish(name, "Trainer") for name in ("first", "second", "third"))
PIDS = {"first": [11], "second": [22]}


def moment(used_mib: int, processes: Mapping[int, int | None] | None = None, gpu: Gpu = GPU) -> GpuReading:
    """A GPU of 10,000 MiB; `processes` gives MiB by pid."""
    listed = tuple(GpuProcess(pid, None if mib is None else mib * MIB) for pid, mib in (processes or {}).items())
    return GpuReading(gpu, GpuMemory(10_000 * MIB, (10_000 - used_mib) * MIB), processes=listed)


def tenancy(driver: RecordedGpus, rules: Rules = SHARED, restriction: str | None = None) -> Tenancy:
    return Tenancy(driver, restriction, rules, FakeClock())


def sit(seats: Tenancy, wish: Wish) -> None:
    (decision,) = seats.decide_in_turn([wish])
    assert isinstance(decision, Admit)
    seats.seated(wish, decision)


def call(seats: Tenancy, wish: Wish, pids: Mapping[str, list[int]]) -> None:
    seats.call_began(wish.instance_id)
    seats.call_ended(wish.instance_id)
    seats.measure(pids)


def held(seats: Tenancy) -> dict[str, int | None]:
    return {one.instance_id: None if one.held_bytes is None else one.held_bytes // MIB for one in seats.tenants()}


def test_the_second_waits_until_the_first_was_measured() -> None:
    driver = RecordedGpus([moment(0)], [moment(3_500, {11: 3_500})])
    seats = tenancy(driver)
    sit(seats, FIRST)
    seats.call_began("first")
    assert seats.decide_in_turn([SECOND]) == (Wait("first came first and is being measured"),)
    driver.advance()
    seats.measure(PIDS)
    assert seats.decide_in_turn([SECOND]) == (Wait("first came first and is being measured"),)
    seats.call_ended("first")
    seats.measure(PIDS)
    assert seats.decide_in_turn([SECOND]) == (Admit(GPU),)


def test_those_of_a_kind_are_expected_to_use_alike() -> None:
    driver = RecordedGpus([moment(0)], [moment(6_000, {11: 6_000})])
    seats = tenancy(driver)
    sit(seats, FIRST)
    driver.advance()
    call(seats, FIRST, PIDS)
    assert seats.decide_in_turn([SECOND]) == (Evict(("first",)),)  # 500 + 5,500 + 500 do not fit beside it
    assert seats.decide_in_turn([Wish("small", "Other")]) == (Admit(GPU),)


def test_a_busy_one_is_not_evicted_and_one_that_left_frees_its_seat() -> None:
    exclusive = Rules(Placement.EXCLUSIVE)
    seats = tenancy(RecordedGpus([moment(0)]), exclusive)
    sit(seats, FIRST)
    assert seats.decide_in_turn([SECOND]) == (Evict(("first",)),)
    seats.call_began("first")
    assert isinstance(seats.decide_in_turn([SECOND])[0], Wait)
    seats.left("first")
    seats.left("first")
    assert seats.decide_in_turn([SECOND]) == (Admit(GPU),)


def test_where_pids_are_the_host_s_the_gain_of_the_device_stands_for_them() -> None:
    driver = RecordedGpus([moment(200)], [moment(3_700, {70_001: None})], [moment(6_700)], [moment(7_200)])
    seats = tenancy(driver)
    sit(seats, FIRST)
    driver.advance()
    call(seats, FIRST, PIDS)
    assert held(seats) == {"first": 3_500}
    sit(seats, SECOND)  # 500 + 3,000 + 500 fit into 6,300
    driver.advance()
    call(seats, SECOND, PIDS)
    assert sum(size or 0 for size in held(seats).values()) == 6_500
    driver.advance()
    seats.measure(PIDS)
    assert sum(size or 0 for size in held(seats).values()) == 7_000


def test_once_a_pid_of_ours_was_listed_one_that_is_not_holds_nothing() -> None:
    driver = RecordedGpus([moment(0)], [moment(2_000, {11: 2_000})], [moment(6_000, {11: 2_000, 77: 4_000})])
    seats = tenancy(driver)
    sit(seats, FIRST)
    driver.advance()
    call(seats, FIRST, PIDS)
    sit(seats, Wish("second", "on the CPU"))
    driver.advance()  # a stranger comes
    call(seats, Wish("second", "on the CPU"), PIDS)
    assert held(seats) == {"first": 2_000, "second": 0}
    assert [one.use_bytes for one in seats.tenants()] == [1_500 * MIB, 0]


def test_what_one_that_leaves_frees_does_not_hide_what_a_newcomer_took() -> None:
    driver = RecordedGpus([moment(0)], [moment(2_500)], [moment(2_000)])
    seats = tenancy(driver)
    sit(seats, FIRST)
    driver.advance()
    call(seats, FIRST, PIDS)
    newcomer = Wish("second", "another kind")
    sit(seats, newcomer)
    seats.left("first")
    driver.advance()  # 2,500 freed, 2,000 taken
    call(seats, newcomer, PIDS)
    assert held(seats) == {"second": 2_000}


def test_a_worker_keeps_to_its_own_restriction() -> None:
    seats = tenancy(RecordedGpus([moment(0), moment(0, gpu=OTHER)]), restriction="1")
    assert seats.gpus == (OTHER,)
    assert seats.decide_in_turn([FIRST]) == (Admit(OTHER),)


def test_a_gpu_that_breaks_is_given_to_nobody_any_more() -> None:
    lost = GpuReading(GPU, health=GpuHealth(is_lost=True))
    driver = RecordedGpus([moment(0), moment(0, gpu=OTHER)], [lost, moment(0, gpu=OTHER)], [lost])
    seats = tenancy(driver, Rules(Placement.EXCLUSIVE))
    assert seats.decide_in_turn([FIRST]) == (Admit(GPU),)
    driver.advance()
    assert seats.decide_in_turn([FIRST]) == (Admit(OTHER),)


@pytest.mark.parametrize("action", [None, 0, 3, 5])
def test_a_gpu_that_still_serves_one_process_is_not_broken(action: int | None) -> None:
    assert not GpuHealth(recovery_action=action, uncorrected_ecc=4, remap_failed=False).is_broken


@pytest.mark.parametrize("action", [1, 2, 4, 6, 7, 8])
def test_a_gpu_that_wants_a_reset_or_something_unheard_of_is_broken(action: int) -> None:
    assert GpuHealth(recovery_action=action).is_broken


def test_a_gpu_without_spare_rows_is_broken() -> None:
    assert GpuHealth(remap_failed=True).is_broken


def test_without_gpus_or_management_nobody_has_a_seat() -> None:
    for seats in (Tenancy(NoGpus("none"), None, SHARED, FakeClock()), tenancy(RecordedGpus([moment(0)]), Rules())):
        sit(seats, FIRST)
        seats.call_began("first")
        seats.call_ended("first")
        seats.measure(PIDS)
        assert seats.tenants() == ()


def test_the_gain_is_shared_in_proportion_and_never_beyond_a_claim() -> None:
    parties = [Party("a", 100, 0), Party("b", 300, 0)]
    assert by_gain(240, 40, parties) == {"a": 50, "b": 150}
    assert by_gain(10_000, 40, parties) == {"a": 100, "b": 300}
    assert by_gain(30, 40, parties) == {"a": 0, "b": 0}
    assert by_gain(640, 40, [*parties, Party("new", None, 440)]) == {"a": 100, "b": 300, "new": 200}


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.lists(st.integers(0, 5_000), max_size=5),
    st.booleans(),
    st.data(),
)
def test_no_more_is_attributed_than_the_device_gained(
    used: int, base: int, claims: list[int], has_newcomer: bool, data: st.DataObject
) -> None:
    parties = [Party(f"p{place}", claim, base) for place, claim in enumerate(claims)]
    if has_newcomer:
        parties.append(Party("new", None, data.draw(st.integers(base, 20_000))))
    held = by_gain(used, base, parties)
    assert held.keys() == {party.instance_id for party in parties}
    assert sum(held.values()) <= max(0, used - base)
    assert all(0 <= held[f"p{place}"] <= claim for place, claim in enumerate(claims))
