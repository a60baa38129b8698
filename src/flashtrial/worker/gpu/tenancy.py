"""Which child sits on which GPU, and what its like was measured to hold: the state behind `placement.decide`.

::

    decide_in_turn(wishes) ─▶ Admit ─▶ seated ─▶ call_began ─▶ … ─▶ call_ended ─▶ measure ─▶ … ─▶ left

Holds no process and ends none: whoever does asks here, obeys, and says what became of it. One thread; `measure` and
`decide_in_turn` read the driver, which takes milliseconds a GPU.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from flashtrial.core.clock import Clock
from flashtrial.core.gpu.driver import Gpu, GpuDriver, GpuReading
from flashtrial.core.gpu.telemetry import held_by
from flashtrial.core.gpu.visible import visible_gpus
from flashtrial.worker.gpu import attribution, placement
from flashtrial.worker.gpu.attribution import Party
from flashtrial.worker.gpu.placement import Admit, Decision, Demand, Device, Rules, Tenant
from flashtrial.worker.gpu.policy import Placement


@dataclass(frozen=True, slots=True)
class Wish:
    """A child that wants to start. Those of one `kind` (a class, or the functions of one environment) use alike.

    An expendable one holds nothing that is missed: idle, it is evicted before any that is not.
    """

    instance_id: str
    kind: str
    is_expendable: bool = False


@dataclass(slots=True)
class _Seat:
    """A tenant, and what is needed to measure it. `used_before_bytes` is what its GPU held when it was seated."""

    tenant: Tenant
    wish: Wish
    used_before_bytes: int
    has_finished_a_call: bool = False


class Tenancy:
    """Owns the seats of one worker. `restriction` is the worker's own CUDA_VISIBLE_DEVICES, None when it is unset."""

    def __init__(self, driver: GpuDriver, restriction: str | None, rules: Rules, clock: Clock) -> None:
        self._driver = driver
        self._gpus = visible_gpus(driver.gpus(), restriction)
        self._rules = rules
        self._clock = clock
        self._seats: dict[str, _Seat] = {}
        self._uses: dict[str, int] = {}
        self._bases: dict[str, int] = {}
        self._knows_pids = False

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that this worker may use."""
        return self._gpus

    def decide_in_turn(self, wishes: Sequence[Wish]) -> tuple[Decision, ...]:
        """A decision for each of `wishes`, which stand in the order they came. Changes nothing: see `seated`."""
        demands = [Demand(wish.instance_id, self._uses.get(wish.kind)) for wish in wishes]
        return placement.decide_in_turn(self._devices(), self.tenants(), demands, self._rules)

    def seated(self, wish: Wish, admit: Admit) -> None:
        """The child was started as `admit` says. Nothing is kept of one that was given no GPU of its own."""
        if admit.gpu is None:
            return
        uuid, memory = admit.gpu.uuid, self._driver.read(admit.gpu).memory
        used = memory.used_bytes if memory is not None else 0
        if not self._seats_on(uuid):
            self._bases[uuid] = used
        tenant = Tenant(wish.instance_id, uuid, self._clock.monotonic(), False, self._uses.get(wish.kind), 0)
        self._seats[wish.instance_id] = _Seat(tenant, wish, used)

    def call_began(self, instance_id: str) -> None:
        """It must not be evicted now. Unknown ids are fine: not everybody has a seat."""
        if seat := self._seats.get(instance_id):
            seat.tenant = replace(seat.tenant, is_busy=True, last_used_s=self._clock.monotonic())

    def call_ended(self, instance_id: str) -> None:
        """It may be evicted, and has shown what it uses: `measure` next."""
        if seat := self._seats.get(instance_id):
            seat.has_finished_a_call = True
            last_used_s = float("-inf") if seat.wish.is_expendable else self._clock.monotonic()
            seat.tenant = replace(seat.tenant, is_busy=False, last_used_s=last_used_s)

    def left(self, instance_id: str) -> None:
        """The child is gone, and its memory with it. Safe to call twice, and for ids without a seat."""
        gone = self._seats.pop(instance_id, None)
        if gone is None:
            return
        for seat in self._seats_on(gone.tenant.gpu_uuid).values():  # what it freed is no loss of those who came later
            seat.used_before_bytes = max(0, seat.used_before_bytes - (gone.tenant.held_bytes or 0))

    def tenants(self) -> tuple[Tenant, ...]:
        """Who has a GPU now."""
        return tuple(seat.tenant for seat in self._seats.values())

    def held_bytes(self, instance_id: str) -> int | None:
        """What it held when it was last measured, context included; None when nobody can tell."""
        seat = self._seats.get(instance_id)
        return None if seat is None else seat.tenant.held_bytes

    def close(self) -> None:
        """Let go of the driver."""
        self._driver.close()

    def measure(self, pids_by_instance: Mapping[str, Collection[int]]) -> None:
        """Note what each tenant holds; `pids_by_instance` names their processes.

        Once NVML listed a pid of ours, pids are believed; until then bytes are attributed by what the device gained.
        """
        for gpu in self._gpus:
            if seats := self._seats_on(gpu.uuid):
                reading = self._driver.read(gpu)
                for instance_id, held in self._holdings(reading, seats, pids_by_instance).items():
                    self._note(seats[instance_id], held)

    def _holdings(
        self, reading: GpuReading, seats: Mapping[str, _Seat], pids_by_instance: Mapping[str, Collection[int]]
    ) -> dict[str, int]:
        ours = {name: pids for name, pids in pids_by_instance.items() if name in seats}
        listed = held_by(reading.processes or (), ours)
        self._knows_pids = self._knows_pids or bool(listed)
        if self._knows_pids:
            return attribution.by_pid(listed, seats) if reading.processes is not None else {}
        if reading.memory is None:
            return {}
        parties = [self._party(name, seat) for name, seat in seats.items()]
        return attribution.by_gain(reading.memory.used_bytes, self._bases.get(reading.gpu.uuid, 0), parties)

    def _party(self, instance_id: str, seat: _Seat) -> Party:
        use = seat.tenant.use_bytes
        return Party(instance_id, None if use is None else self._rules.context_bytes + use, seat.used_before_bytes)

    def _seats_on(self, gpu_uuid: str) -> dict[str, _Seat]:
        return {name: seat for name, seat in self._seats.items() if seat.tenant.gpu_uuid == gpu_uuid}

    def _note(self, seat: _Seat, held_bytes: int) -> None:
        seat.tenant = replace(seat.tenant, held_bytes=held_bytes)
        if seat.has_finished_a_call:
            use = max(0, held_bytes - self._rules.context_bytes, seat.tenant.use_bytes or 0)
            seat.tenant = replace(seat.tenant, use_bytes=use)
            self._uses[seat.wish.kind] = max(use, self._uses.get(seat.wish.kind, 0))

    def _devices(self) -> list[Device]:
        if self._rules.placement is Placement.UNMANAGED:
            return []
        readings = [self._driver.read(gpu) for gpu in self._gpus]
        return [Device(reading.gpu, reading.memory, reading.health.is_broken) for reading in readings]
