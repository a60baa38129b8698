"""Who gets which GPU: pure decisions about one moment. Same input, same decision.

::

    devices (measured) + tenants (admitted) + demand ── decide ──▶ Admit(gpu) | Wait(reason) | Evict(instance_ids)

A tenant's claim is the context and its measured use beyond it. What it does not hold yet of its claim is spoken for, so
that two children which are still loading are not promised the same bytes. Unverified on hardware.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from flashtrial.core.gpu.driver import Gpu, GpuMemory
from flashtrial.worker.gpu.policy import Placement

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rules:
    """The policy. Both sizes are estimates: a CUDA context with a framework's kernels, and room for fragmentation."""

    placement: Placement = Placement.UNMANAGED
    context_bytes: int = 512 * MIB
    reserve_bytes: int = 512 * MIB


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as it is now; `memory` None: nobody can tell."""

    gpu: Gpu
    memory: GpuMemory | None
    is_broken: bool = False


@dataclass(frozen=True, slots=True)
class Tenant:
    """A child that was given a GPU.

    `use_bytes` is the most that it was measured to hold beyond the context, None until it was measured; `held_bytes`
    what it holds now, context included, None when nobody can tell. `last_used_s` orders by use, on any clock.
    """

    instance_id: str
    gpu_uuid: str
    last_used_s: float
    is_busy: bool
    use_bytes: int | None = None
    held_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """A child that wants to start; `use_bytes` is what its like was measured to hold beyond the context, if it was."""

    instance_id: str
    use_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Admit:
    """Start it, with this GPU as its only one; None: set nothing."""

    gpu: Gpu | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again when a tenant left, finished a call or was measured.

    `is_hopeless`: it would wait for ever; `needs_new_worker`: because this worker's GPUs are of no more use.
    """

    reason: str
    is_hopeless: bool = False
    needs_new_worker: bool = False


@dataclass(frozen=True, slots=True)
class Evict:
    """End these idle tenants, least recently used first, then ask again."""

    instance_ids: tuple[str, ...]


Decision = Admit | Wait | Evict


def decide(devices: Sequence[Device], tenants: Sequence[Tenant], demand: Demand, rules: Rules) -> Decision:
    """What to do about one demand. Without a GPU, or unmanaged, everybody is admitted and nothing is set."""
    if rules.placement is Placement.UNMANAGED or not devices:
        return Admit(None)
    sites = [_Site.of(device, tenants) for device in devices if not device.is_broken]
    if not sites:
        return Wait(f"all {len(devices)} GPUs of this worker are broken", is_hopeless=True, needs_new_worker=True)
    fitting = [site for site in sites if site.takes(demand, rules)]
    if fitting:
        return Admit(max(fitting, key=lambda site: site.room(rules)).device.gpu)  # the first of equals
    return _eviction(sites, demand, rules) or _wait(sites, demand, rules)


def decide_in_turn(
    devices: Sequence[Device], tenants: Sequence[Tenant], demands: Sequence[Demand], rules: Rules
) -> tuple[Decision, ...]:
    """A decision for each of `demands`, which stand in the order they came: nobody overtakes one that waits.

    Those admitted count as tenants for those behind them.
    """
    seated = list(tenants)
    decisions: list[Decision] = []
    for demand in demands:
        decision = decide(devices, seated, demand, rules)
        decisions.append(decision)
        match decision:
            case Admit(gpu=gpu):
                seated.extend([_newcomer(demand, gpu)] if gpu is not None else [])
            case Wait(is_hopeless=True):
                continue  # it will be refused, so nobody is behind it
            case _:
                behind = Wait(f"it is behind {demand.instance_id}, which came first")
                return (*decisions, *(behind for _ in demands[len(decisions) :]))
    return tuple(decisions)


def _newcomer(demand: Demand, gpu: Gpu) -> Tenant:
    return Tenant(demand.instance_id, gpu.uuid, float("inf"), is_busy=True, use_bytes=demand.use_bytes, held_bytes=0)


@dataclass(frozen=True, slots=True)
class _Site:
    """A device and those who sit on it."""

    device: Device
    tenants: tuple[Tenant, ...]

    @classmethod
    def of(cls, device: Device, tenants: Sequence[Tenant]) -> "_Site":
        return cls(device, tuple(tenant for tenant in tenants if tenant.gpu_uuid == device.gpu.uuid))

    def takes(self, demand: Demand, rules: Rules) -> bool:
        """Whether `demand` fits beside those who are here."""
        if not self.tenants and self.device.memory is None:
            return True
        if rules.placement is Placement.EXCLUSIVE:
            return not self.tenants
        return self.unmeasured is None and _claim(demand.use_bytes, rules) <= self.room(rules)

    @property
    def unmeasured(self) -> Tenant | None:
        """Somebody here of whom nobody knows yet how much it will take."""
        return next((tenant for tenant in self.tenants if tenant.use_bytes is None), None)

    def room(self, rules: Rules) -> int:
        """Bytes that can be promised; below 0 when more is spoken for than there is, or nobody can tell."""
        if self.device.memory is None:
            return -1
        promised = sum(max(0, _claim(tenant.use_bytes, rules) - (tenant.held_bytes or 0)) for tenant in self.tenants)
        return self.device.memory.free_bytes - promised - rules.reserve_bytes

    def idle(self) -> list[Tenant]:
        """Those who may be evicted, least recently used first."""
        return sorted(
            (tenant for tenant in self.tenants if not tenant.is_busy),
            key=lambda tenant: (tenant.last_used_s, tenant.instance_id),
        )

    def without(self, victims: Sequence[Tenant]) -> "_Site":
        """The site as it will be once `victims` are gone; hopes for the best where nobody knows what they hold."""
        staying = tuple(tenant for tenant in self.tenants if tenant not in victims)
        memory = self.device.memory
        if memory is None:
            return _Site(self.device, staying)
        held = [tenant.held_bytes for tenant in victims]
        freed = sum(size for size in held if size is not None)
        free = memory.free_bytes + freed
        if None in held:
            free = memory.total_bytes - sum(tenant.held_bytes or 0 for tenant in staying)
        after = GpuMemory(memory.total_bytes, min(free, memory.total_bytes))
        return _Site(replace(self.device, memory=after), staying)


def _claim(use_bytes: int | None, rules: Rules) -> int:
    return rules.context_bytes + (use_bytes or 0)


def _eviction(sites: Sequence[_Site], demand: Demand, rules: Rules) -> Evict | None:
    """The eviction that hits the longest unused: of each site the shortest run of idle tenants that makes room."""
    candidates = [victims for site in sites for victims in [_victims(site, demand, rules)] if victims]
    if not candidates:
        return None
    chosen = min(candidates, key=lambda victims: (victims[-1].last_used_s, len(victims)))
    return Evict(tuple(tenant.instance_id for tenant in chosen))


def _victims(site: _Site, demand: Demand, rules: Rules) -> list[Tenant]:
    idle = site.idle()
    for count in range(1, len(idle) + 1):
        if site.without(idle[:count]).takes(demand, rules):
            return idle[:count]
    return []


def _wait(sites: Sequence[_Site], demand: Demand, rules: Rules) -> Wait:
    if rules.placement is Placement.EXCLUSIVE:
        return Wait(f"each of {len(sites)} GPUs belongs to an instance that is in a call")
    needed = _claim(demand.use_bytes, rules) + rules.reserve_bytes
    largest = _largest(sites)
    if largest is not None and needed > largest:
        return Wait(f"it needs {_mib(needed)} and the largest GPU has {_mib(largest)} in all", is_hopeless=True)
    for tenant in filter(None, (site.unmeasured for site in sites)):
        return Wait(f"{tenant.instance_id} came first and is being measured")
    return Wait(f"it needs {_mib(needed)} and no GPU has so much to spare")


def _largest(sites: Sequence[_Site]) -> int | None:
    """Bytes of the largest GPU; None when the size of any is not known."""
    memories = [site.device.memory for site in sites]
    sizes = [memory.total_bytes for memory in memories if memory is not None]
    return max(sizes) if len(sizes) == len(memories) else None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:,.0f} MiB"
