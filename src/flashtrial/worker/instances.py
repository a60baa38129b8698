"""The instances of one worker: who is held, who is let go to keep the bounds, and who is remembered as lost."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from flashtrial.process.child import Child
from flashtrial.process.memory import proportional_bytes
from flashtrial.protocol.execution import InstanceInfo

if TYPE_CHECKING:
    from flashtrial.worker.gpu.seats import Seat

_LOST_KEPT: Final = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InstanceLimits:
    """How many instances, how long unused (seconds), and how much memory of all together (bytes); None: no limit."""

    max_count: int | None = 64
    idle_s: float | None = 3600.0
    memory_bytes: int | None = None


class AllBusy(Exception):
    """Raised when there is no room for another instance and none that is idle could make room."""


@dataclass(slots=True)
class Instance:
    """One living instance and what is told about it.

    `turn` is held while a call runs on it; `users` counts the calls that run or wait. `seat` is its place on a GPU,
    None where placement is not managed.
    """

    instance_id: str
    child: Child
    class_name: str
    created_at: datetime
    last_used: datetime
    used_at: float
    method_calls: int = 0
    users: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    seat: "Seat | None" = None

    @property
    def lives_on(self) -> bool:
        """Whether the object exists and can be called again."""
        return self.child.takes_calls and self.child.conversation.constructed

    @property
    def is_idle(self) -> bool:
        return self.users == 0

    def info(self, gpu_memory_bytes: int | None = None) -> InstanceInfo:
        """What the answer tells: memory is that of the host and, where it was measured, that of the GPU."""
        resident = self.child.resident_bytes()
        return InstanceInfo(
            class_name=self.class_name,
            created_at=self.created_at.isoformat(),
            last_used=self.last_used.isoformat(),
            method_calls=self.method_calls,
            memory_bytes=None if resident is None else resident + (gpu_memory_bytes or 0),
            gpu_memory_bytes=gpu_memory_bytes,
        )


class Instances:
    """Owns the table; ends no process itself: what has to go is handed back to be ended."""

    def __init__(self, limits: InstanceLimits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._held: dict[str, Instance] = {}
        self._lost: dict[str, str] = {}

    def get(self, instance_id: str) -> Instance | None:
        return self._held.get(instance_id)

    def hold(self, instance: Instance) -> None:
        """Take `instance` in; one that was lost under its id is forgotten."""
        self._held[instance.instance_id] = instance
        self._lost.pop(instance.instance_id, None)

    def touch(self, instance: Instance) -> None:
        instance.used_at = self._monotonic()

    def lose(self, instance: Instance, reason: str | None) -> None:
        """Take `instance` out; with a `reason` it is remembered as lost, without one it never came to be."""
        if self._held.get(instance.instance_id) is instance:
            del self._held[instance.instance_id]
        if reason is not None:
            self._lost[instance.instance_id] = reason
            while len(self._lost) > _LOST_KEPT:
                self._lost.pop(next(iter(self._lost)))

    def why_lost(self, instance_id: str) -> str | None:
        return self._lost.get(instance_id)

    def forget(self, instance_id: str) -> None:
        """Whatever was lost under this id is to start over."""
        self._lost.pop(instance_id, None)

    def new_turns(self) -> None:
        """Another event loop serves from now on: a lock belongs to the loop it was waited on in."""
        for instance in self._held.values():
            instance.turn = asyncio.Lock()

    def room_for_one_more(self) -> list[tuple[Instance, str]]:
        """Take out, least recently used first, what must go before another comes; the reason beside each.

        Raises `AllBusy` when the number cannot be kept; then nothing was taken out.
        """
        chosen: list[tuple[Instance, str]] = []
        idle = self._idle_by_age()
        limit = self._limits.max_count
        excess = 0 if limit is None else len(self._held) + 1 - limit
        if excess > len(idle):
            raise AllBusy(f"all {len(self._held)} instances of this worker are busy, and it holds at most {limit}")
        if excess > 0:
            chosen += [(instance, f"evicted to make room: at most {limit} are held") for instance in idle[:excess]]
        chosen += self._over_memory(idle[max(excess, 0) :])
        return self._taken_out(chosen)

    def taken_out_if_idle(self, instance: Instance, reason: str) -> bool:
        """Take `instance` out unless a call runs on it or waits for it; whether it was."""
        if self._held.get(instance.instance_id) is not instance or not instance.is_idle:
            return False
        self._taken_out([(instance, reason)])
        return True

    def too_long_idle(self) -> list[tuple[Instance, str]]:
        """Take out what nobody has used for the idle time."""
        limit = self._limits.idle_s
        if limit is None:
            return []
        now = self._monotonic()
        old = [instance for instance in self._idle_by_age() if now - instance.used_at >= limit]
        return self._taken_out([(instance, f"evicted: not used for {limit:g} s") for instance in old])

    def next_look_s(self) -> float | None:
        """Seconds until the first instance will have been idle for too long; None when none can be."""
        if self._limits.idle_s is None or not self._held:
            return None
        oldest = min(instance.used_at for instance in self._held.values())
        return max(0.0, oldest + self._limits.idle_s - self._monotonic())

    def _over_memory(self, idle: Iterable[Instance]) -> list[tuple[Instance, str]]:
        limit = self._limits.memory_bytes
        if limit is None:
            return []
        used = {id_: proportional_bytes(held.child.process.pid) or 0 for id_, held in self._held.items()}
        total, chosen = sum(used.values()), []
        for instance in idle:
            if total <= limit:
                break
            total -= used[instance.instance_id]
            chosen.append((instance, f"evicted to free memory: all instances together may hold {limit} bytes"))
        return chosen

    def _idle_by_age(self) -> list[Instance]:
        idle = [instance for instance in self._held.values() if instance.is_idle]
        return sorted(idle, key=lambda instance: instance.used_at)

    def _taken_out(self, chosen: list[tuple[Instance, str]]) -> list[tuple[Instance, str]]:
        for instance, reason in chosen:
            self.lose(instance, reason)
            logger.info("instance %s: %s", instance.instance_id, reason, extra={"action": "instance_evicted"})
        return chosen
