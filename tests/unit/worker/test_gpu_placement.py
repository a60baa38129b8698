"""Who gets which GPU, who waits, who has to go."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashtrial.core.gpu.driver import Gpu, GpuMemory
from flashtrial.worker.gpu.placement import (
    MIB,
    Admit,
    Decision,
    Demand,
    Device,
    Evict,
    Rules,
    Tenant,
    Wait,
    decide,
    decide_in_turn,
)
from flashtrial.worker.gpu.policy import Placement

GPUS = tuple(Gpu(place, f"GPU-{place}", "H100", place) for place in range(3))
EXCLUSIVE = Rules(Placement.EXCLUSIVE)
SHARED = Rules(Placement.SHARED, context_bytes=500 * MIB, reserve_bytes=500 * MIB)


def device(place: int, free_mib: int | None = 10_000, total_mib: int = 10_000, *, is_broken: bool = False) -> Device:
    memory = GpuMemory(total_mib * MIB, free_mib * MIB) if free_mib is not None else None
    return Device(GPUS[place], memory, is_broken)


def tenant(
    name: str,
    place: int = 0,
    last_used_s: float = 0.0,
    *,
    busy: bool = False,
    use: int | None = 0,
    held: int | None = 500,
) -> Tenant:
    use_bytes, held_bytes = (None if size is None else size * MIB for size in (use, held))
    return Tenant(name, GPUS[place].uuid, last_used_s, busy, use_bytes, held_bytes)


def wants(mib: int | None = None, name: str = "new") -> Demand:
    return Demand(name, None if mib is None else mib * MIB)


@pytest.mark.parametrize("placement", Placement)
def test_without_a_gpu_everybody_is_admitted_and_nothing_is_set(placement: Placement) -> None:
    assert decide([], [], wants(10**9), Rules(placement)) == Admit(None)


def test_unmanaged_children_see_what_the_worker_sees() -> None:
    assert decide([device(0, free_mib=0)], [tenant("a")], wants(), Rules()) == Admit(None)


class TestExclusive:
    def test_each_gets_a_gpu_of_its_own(self) -> None:
        assert decide([device(0), device(1)], [], wants(), EXCLUSIVE) == Admit(GPUS[0])
        assert decide([device(0), device(1)], [tenant("a", 0, busy=True)], wants(), EXCLUSIVE) == Admit(GPUS[1])

    def test_a_gpu_of_unknown_memory_is_as_good(self) -> None:
        assert decide([device(0, free_mib=None)], [], wants(), EXCLUSIVE) == Admit(GPUS[0])
        assert isinstance(decide([device(0, free_mib=None)], [tenant("a", busy=True)], wants(), EXCLUSIVE), Wait)

    def test_the_longest_unused_goes_first(self) -> None:
        tenants = [tenant("a", 0, 9.0), tenant("b", 1, 3.0), tenant("c", 2, 1.0, busy=True)]
        assert decide([device(0), device(1), device(2)], tenants, wants(), EXCLUSIVE) == Evict(("b",))

    def test_who_is_in_a_call_is_waited_for(self) -> None:
        decision = decide([device(0)], [tenant("a", busy=True)], wants(), EXCLUSIVE)
        assert decision == Wait("each of 1 GPUs belongs to an instance that is in a call")

    def test_a_broken_gpu_is_given_to_nobody(self) -> None:
        devices = [device(0, is_broken=True), device(1)]
        assert decide(devices, [], wants(), EXCLUSIVE) == Admit(GPUS[1])
        assert decide([device(0, is_broken=True)], [], wants(), EXCLUSIVE) == Wait(
            "all 1 GPUs of this worker are broken", is_hopeless=True, needs_new_worker=True
        )


class TestShared:
    def test_what_fits_beside_the_others_is_admitted(self) -> None:
        held = [tenant("a", use=4_000, held=4_500, busy=True)]
        assert decide([device(0, free_mib=5_500)], held, wants(4_500), SHARED) == Admit(GPUS[0])
        assert isinstance(decide([device(0, free_mib=5_499)], held, wants(4_500), SHARED), Wait)

    def test_what_others_have_yet_to_take_is_not_promised_twice(self) -> None:
        loading = [tenant("a", use=4_000, held=100, busy=True)]
        assert isinstance(decide([device(0, free_mib=9_900)], loading, wants(4_501), SHARED), Wait)
        assert decide([device(0, free_mib=9_900)], loading, wants(4_500), SHARED) == Admit(GPUS[0])

    def test_nobody_joins_one_that_is_not_measured_yet(self) -> None:
        measured_soon = [tenant("a", use=None, busy=True)]
        assert decide([device(0)], measured_soon, wants(1), SHARED) == Wait("a came first and is being measured")
        assert decide([device(0), device(1)], measured_soon, wants(1), SHARED) == Admit(GPUS[1])

    def test_one_of_unknown_use_is_admitted_where_a_context_fits(self) -> None:
        assert decide([device(0, free_mib=1_000)], [tenant("a", busy=True)], wants(), SHARED) == Admit(GPUS[0])
        assert isinstance(decide([device(0, free_mib=999)], [tenant("a", busy=True)], wants(), SHARED), Wait)

    def test_the_roomiest_gpu_is_taken(self) -> None:
        assert decide([device(0, 3_000), device(1, 9_000), device(2, 9_000)], [], wants(), SHARED) == Admit(GPUS[1])

    def test_where_memory_is_unknown_one_at_a_time(self) -> None:
        assert decide([device(0, free_mib=None)], [], wants(10**9), SHARED) == Admit(GPUS[0])
        assert decide([device(0, free_mib=None)], [tenant("a")], wants(), SHARED) == Evict(("a",))

    def test_as_many_go_as_are_needed_and_no_more(self) -> None:
        tenants = [
            tenant("old", last_used_s=1, use=1_000, held=1_500),
            tenant("older", last_used_s=0, use=1_000, held=1_500),
            tenant("new", last_used_s=2, use=1_000, held=1_500),
        ]
        assert decide([device(0, 5_500)], tenants, wants(5_000), SHARED) == Evict(("older",))
        assert decide([device(0, 5_500)], tenants, wants(6_001), SHARED) == Evict(("older", "old"))

    def test_the_site_whose_last_victim_is_the_longest_unused_is_chosen(self) -> None:
        tenants = [tenant("a", 0, 5, use=8_000, held=8_500), tenant("b", 1, 4, use=8_000, held=8_500)]
        assert decide([device(0, 1_500), device(1, 1_500)], tenants, wants(5_000), SHARED) == Evict(("b",))

    def test_one_whose_memory_nobody_knows_is_evicted_in_hope(self) -> None:
        unmeasured = [tenant("a", use=None, held=None)]
        assert decide([device(0, 100)], unmeasured, wants(5_000), SHARED) == Evict(("a",))

    def test_memory_that_strangers_hold_is_waited_for(self) -> None:
        decision = decide([device(0, free_mib=200)], [], wants(100), SHARED)
        assert decision == Wait("it needs 1,100 MiB and no GPU has so much to spare")

    def test_what_can_never_fit_is_told_as_hopeless(self) -> None:
        decision = decide([device(0), device(1, 1_000, 8_000)], [], wants(9_001), SHARED)
        assert decision == Wait("it needs 10,001 MiB and the largest GPU has 10,000 MiB in all", is_hopeless=True)
        assert decide([device(0), device(1, None)], [tenant("a", 1)], wants(9_001), SHARED) == Evict(("a",))


class TestInTurn:
    def test_the_admitted_count_for_those_behind_them(self) -> None:
        decisions = decide_in_turn([device(0), device(1)], [], [wants(name=name) for name in "abc"], EXCLUSIVE)
        assert decisions[:2] == (Admit(GPUS[0]), Admit(GPUS[1]))
        assert isinstance(decisions[2], Wait)

    def test_nobody_overtakes_one_that_waits(self) -> None:
        demands = [wants(8_000, "large"), wants(1, "small"), wants(1, "smaller")]
        decisions = decide_in_turn([device(0, 5_000)], [], demands, SHARED)
        behind = Wait("it is behind large, which came first")
        assert isinstance(decisions[0], Wait)
        assert decisions[1:] == (behind, behind)

    def test_nobody_stands_behind_the_hopeless(self) -> None:
        decisions = decide_in_turn([device(0)], [], [wants(90_000, "huge"), wants(1, "small")], SHARED)
        assert [type(decision) for decision in decisions] == [Wait, Admit]


# --- properties: a machine that behaves as its figures say, driven until nobody waits

sizes = st.integers(0, 9_000).map(lambda mib: mib * MIB)
demands = st.lists(st.one_of(st.none(), sizes), min_size=1, max_size=12)
placements = st.sampled_from([Placement.EXCLUSIVE, Placement.SHARED])


class Machine:
    """GPUs of 10,000 MiB, strangers on some, and children that hold what they really use once they ran."""

    def __init__(self, strangers: list[int]) -> None:
        self.strangers = strangers
        self.tenants: dict[str, Tenant] = {}
        self.real: dict[str, int] = {}

    def devices(self) -> list[Device]:
        return [self.device(place) for place in range(len(self.strangers))]

    def device(self, place: int) -> Device:
        held = sum(one.held_bytes or 0 for one in self.tenants.values() if one.gpu_uuid == GPUS[place].uuid)
        total = 10_000 * MIB
        return Device(GPUS[place], GpuMemory(total, max(0, total - held - self.strangers[place])))

    def seat(self, demand: Demand, gpu: Gpu, clock: float) -> None:
        self.tenants[demand.instance_id] = Tenant(demand.instance_id, gpu.uuid, clock, True, demand.use_bytes, 0)

    def run(self, name: str, clock: float, context_bytes: int) -> None:
        """A call that ends: the child held all it uses, and was measured."""
        use = self.real[name]
        self.tenants[name] = replace(
            self.tenants[name], is_busy=False, last_used_s=clock, use_bytes=use, held_bytes=context_bytes + use
        )


def check(decision: Decision, machine: Machine, demand: Demand, rules: Rules) -> None:
    """What must hold of every single decision."""
    if isinstance(decision, Evict):
        assert decision.instance_ids
        assert not any(machine.tenants[name].is_busy for name in decision.instance_ids)
    if not isinstance(decision, Admit):
        return
    assert decision.gpu is not None
    there = [one for one in machine.tenants.values() if one.gpu_uuid == decision.gpu.uuid]
    if rules.placement is Placement.EXCLUSIVE:
        assert not there
        return
    assert all(one.use_bytes is not None for one in there)
    memory = machine.device(decision.gpu.index).memory
    assert memory is not None
    claims = [rules.context_bytes + (one.use_bytes or 0) - (one.held_bytes or 0) for one in there]
    spoken_for = sum(max(0, claim) for claim in claims)
    need = rules.context_bytes + (demand.use_bytes or 0) + rules.reserve_bytes
    assert need + spoken_for <= memory.free_bytes


@settings(deadline=None)
@given(
    placements, demands, st.lists(st.integers(0, 9_500).map(lambda mib: mib * MIB), min_size=1, max_size=3), st.data()
)
def test_nobody_is_promised_what_is_not_there_and_everybody_comes_in_the_end(
    placement: Placement, uses: list[int | None], strangers: list[int], data: st.DataObject
) -> None:
    rules = replace(SHARED, placement=placement)
    machine = Machine(strangers)
    waiting = [Demand(f"i{number}", use) for number, use in enumerate(uses)]
    for demand in waiting:
        machine.real[demand.instance_id] = demand.use_bytes if demand.use_bytes is not None else data.draw(sizes)
    came: list[str] = []
    for clock in range(10 * len(waiting) + 10):
        decision = decide_in_turn(machine.devices(), list(machine.tenants.values()), waiting, rules)[0]
        assert decision == decide(machine.devices(), list(machine.tenants.values()), waiting[0], rules)
        check(decision, machine, waiting[0], rules)
        match decision:
            case Admit(gpu=gpu):
                assert gpu is not None
                machine.seat(waiting[0], gpu, clock)
                came.append(waiting.pop(0).instance_id)
            case Evict(instance_ids=names):
                for name in names:
                    del machine.tenants[name]
            case Wait(is_hopeless=hopeless):
                assert not hopeless
                machine.strangers = [0] * len(strangers)  # memory frees
                busy = [name for name, one in machine.tenants.items() if one.is_busy]
                for name in data.draw(st.sets(st.sampled_from(busy), min_size=1)) if busy else ():
                    machine.run(name, clock, rules.context_bytes)
        if not waiting:
            break
    assert came == [f"i{number}" for number in range(len(uses))]


@settings(deadline=None)
@given(placements, demands, st.lists(st.booleans(), min_size=1, max_size=3))
def test_same_input_same_decision_whatever_the_order_of_the_tenants(
    placement: Placement, uses: list[int | None], busy: list[bool]
) -> None:
    rules = replace(SHARED, placement=placement)
    devices = [device(place, 7_000) for place in range(len(busy))]
    tenants = [tenant(f"t{place}", place, 1.0, busy=is_busy) for place, is_busy in enumerate(busy)]
    wishes = [Demand(f"i{number}", use) for number, use in enumerate(uses)]
    first = decide_in_turn(devices, tenants, wishes, rules)
    assert decide_in_turn(devices, tenants[::-1], wishes, rules) == first
    assert len(first) == len(wishes)
