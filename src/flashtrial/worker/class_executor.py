"""Class instances: made when missing, kept by id across jobs, each in a child of its own.

An instance that is gone is told as lost and never quietly made again: its state is gone with it, and a counter that
starts over is worse than an error.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flashtrial.core.clock import Clock, utc_from_ms
from flashtrial.core.ids import new_id
from flashtrial.process.call_spec import CallSpec
from flashtrial.process.child import NO_LIMITS, CallLimits, Child
from flashtrial.process.environment import Environment
from flashtrial.process.outcome import (
    Died,
    Failure,
    Garbled,
    Outcome,
    OverMemory,
    Raised,
    Returned,
    TimedOut,
    failure_of,
)
from flashtrial.process.sink import Sink
from flashtrial.process.supervisor import Supervisor
from flashtrial.protocol.execution import FailureKind, FunctionRequest
from flashtrial.worker.base_executor import (
    Execution,
    RequestRefused,
    call_limits,
    call_spec,
    damage_by,
    spoils,
    without_seat,
)
from flashtrial.worker.gpu.policy import NoSeat
from flashtrial.worker.instances import AllBusy, Instance, InstanceLimits, Instances
from flashtrial.worker.ledger import InstanceLedger

if TYPE_CHECKING:
    from flashtrial.worker.gpu.seats import GpuSeats, Seat

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Making:
    """The requests that decide, one after the other, whether an instance is to be made."""

    users: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class ClassExecutor:
    """Answers class requests. Calls on one instance take turns; different instances run side by side.

    `gpus` is None where the placement of children on GPUs is unmanaged.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        ledger: InstanceLedger,
        worker_id: str,
        clock: Clock,
        *,
        limits: InstanceLimits | None = None,
        call_defaults: CallLimits = NO_LIMITS,
        gpus: "GpuSeats | None" = None,
    ) -> None:
        self._supervisor = supervisor
        self._ledger = ledger
        self._worker_id = worker_id
        self._clock = clock
        self._call_defaults = call_defaults
        self._gpus = gpus
        self._instances = Instances(limits or InstanceLimits(), clock.monotonic)
        self._making: dict[str, _Making] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._endings: set[asyncio.Task[None]] = set()

    async def execute(self, request: FunctionRequest, environment: Environment, sink: Sink) -> Execution:
        """Call the method, on the instance of that id, which is made where the rules allow. Raises `RequestRefused`."""
        instance_id = request.instance_id or new_id(request.class_name or "instance")
        spec = call_spec(request, stream=sink.streams)  # refuse what cannot be called before anything is made
        limits = call_limits(request, self._call_defaults)
        anew = request.create_new_instance and request.instance_id is not None
        while True:
            found: Instance | Failure | None = self._instances.get(instance_id)
            if found is None or anew or instance_id in self._making:
                try:
                    async with self._making_of(instance_id):
                        found = await self._find_or_make(instance_id, spec, environment, anew=anew)
                except NoSeat as refusal:
                    return without_seat(refusal, instance_id)
            if isinstance(found, Failure):
                return Execution(found, instance_id)
            if execution := await self._call_in_turn(found, spec, sink, limits):
                return execution
            anew = False  # it went while this call waited for its turn: lost, made anew, or never made

    async def _call_in_turn(
        self, instance: Instance, spec: CallSpec, sink: Sink, limits: CallLimits
    ) -> Execution | None:
        """Wait for the turn on `instance`, which is not idle from now on, and call it; None when it is gone by then."""
        instance.users += 1
        try:
            async with instance.turn:
                if self._instances.get(instance.instance_id) is not instance:
                    return None
                return await self._call(instance, spec, sink, limits)
        finally:
            instance.users -= 1
            self._sweep_later()
            if instance.seat is not None:
                instance.seat.freed()

    def forget_loop(self) -> None:
        """Another event loop serves from now on."""
        self._making.clear()
        self._instances.new_turns()
        self._sweep = None

    @contextlib.asynccontextmanager
    async def _making_of(self, instance_id: str) -> AsyncIterator[None]:
        """One request at a time decides whether an instance is to be made."""
        making = self._making.setdefault(instance_id, _Making())
        making.users += 1
        try:
            async with making.turn:
                yield
        finally:
            making.users -= 1
            # a lock that was just released is not locked, though somebody is to have it next
            if not making.users and self._making.get(instance_id) is making:
                del self._making[instance_id]

    async def _find_or_make(
        self, instance_id: str, spec: CallSpec, environment: Environment, *, anew: bool
    ) -> Instance | Failure:
        if anew:
            await self._replace(instance_id)
        if instance := self._instances.get(instance_id):
            return instance
        holder = self._ledger.claim(instance_id)
        if holder != self._worker_id or self._instances.why_lost(instance_id):
            return self._told_as_lost(instance_id, holder)
        return await self._make(instance_id, spec, environment)

    async def _replace(self, instance_id: str) -> None:
        self._ledger.take_over(instance_id)
        if instance := self._instances.get(instance_id):
            logger.info("instance %s is made anew, as asked", instance_id)
            async with instance.turn:  # a call that runs on the old one ends first
                self._instances.lose(instance, "it was made anew")
                await self._supervisor.end(instance.child)
        self._instances.forget(instance_id)

    async def _make(self, instance_id: str, spec: CallSpec, environment: Environment) -> Instance:
        seat: Seat | None = None
        try:
            if self._gpus is not None:
                seat = await self._gpus.take(instance_id, f"{spec.target} of {environment.key}")
            await self._make_room()
            child = await self._launched(seat, spec, environment)
        except BaseException:
            self._ledger.release(instance_id)
            if seat is not None:
                seat.left()
            raise
        now = utc_from_ms(self._clock.time_ms())
        instance = Instance(instance_id, child, spec.target, now, now, self._clock.monotonic(), seat=seat)
        if seat is not None:
            seat.occupied(child, functools.partial(self._leave_gpu, instance))
        self._instances.hold(instance)
        return instance

    async def _launched(self, seat: "Seat | None", spec: CallSpec, environment: Environment) -> Child:
        if seat is None:
            return await self._supervisor.new_child(environment, spec, holds_instance=True)
        return await self._supervisor.new_child(
            environment, spec, holds_instance=True, variables=seat.variables, on_end=seat.left
        )

    async def _leave_gpu(self, instance: Instance) -> bool:
        """End an idle instance because another child needs its GPU; whether it was idle."""
        if not self._instances.taken_out_if_idle(instance, "evicted: another call needed its GPU"):
            return False
        await asyncio.shield(self._supervisor.end(instance.child))
        return True

    async def _make_room(self) -> None:
        try:
            leaving = self._instances.room_for_one_more()
        except AllBusy as busy:
            raise RequestRefused(f"{busy}; use more workers, or raise FLASHTRIAL_MAX_INSTANCES") from busy
        await asyncio.gather(*(self._supervisor.end(instance.child) for instance, _reason in leaving))

    async def _call(self, instance: Instance, spec: CallSpec, sink: Sink, limits: CallLimits) -> Execution:
        if not instance.child.takes_calls:
            await self._note_death(instance)
            return Execution(self._told_as_lost(instance.instance_id, self._worker_id), instance.instance_id)
        if not instance.child.conversation.constructed:
            spec = spec._replace(construct=True)
        instance.method_calls += 1
        if instance.seat is not None:
            instance.seat.call_began()
        try:
            outcome = await instance.child.call(spec, sink, limits)
        except asyncio.CancelledError:
            if not instance.lives_on:
                await self._let_go(instance, "a call on it was cancelled, and did not stop when asked")
            await self._measured(instance)
            raise
        instance.last_used = utc_from_ms(self._clock.time_ms())
        self._instances.touch(instance)
        gpu_bytes = await self._measured(instance)
        info = instance.info(gpu_bytes) if isinstance(outcome, Returned | Raised) else None
        await self._after(instance, outcome)
        refresh = damage_by(outcome).refreshes_worker
        return Execution(outcome, instance.instance_id, info, refresh_worker=refresh)

    async def _measured(self, instance: Instance) -> int | None:
        """What a living instance holds on its GPU after a call; one that died is not measured: it would seem small."""
        if instance.seat is None or not instance.child.takes_calls:
            return None
        return await instance.seat.call_ended()

    async def _after(self, instance: Instance, outcome: Outcome) -> None:
        match outcome:
            case Raised() if not instance.child.conversation.constructed:
                await self._let_go(instance, "its constructor failed")
            case Raised(message=message) if spoils(outcome):
                await self._let_go(instance, f"an error of its GPU left its process unusable: {_last_line(message)}")
            case TimedOut() if instance.lives_on:
                pass  # it stopped when asked
            case Died() | TimedOut() | OverMemory() | Garbled() as end:
                await self._let_go(instance, failure_of(end).message)

    async def _note_death(self, instance: Instance) -> None:
        """It died while nobody looked."""
        await self._let_go(instance, failure_of(Died(await instance.child.ended())).message)

    async def _let_go(self, instance: Instance, reason: str) -> None:
        """End the child. An instance that had come to be is remembered as lost; one that had not may be tried again."""
        came_to_be = instance.child.conversation.constructed
        self._instances.lose(instance, reason if came_to_be else None)
        if not came_to_be:
            self._ledger.release(instance.instance_id)
        await asyncio.shield(self._supervisor.end(instance.child))

    def _sweep_later(self) -> None:
        """Look again when the first instance can have been idle for too long; a look may come too early."""
        if self._sweep is not None:
            return
        wait_s = self._instances.next_look_s()
        loop = asyncio.get_running_loop()
        self._sweep = None if wait_s is None else loop.call_later(wait_s, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        for instance, _reason in self._instances.too_long_idle():
            ending = asyncio.ensure_future(self._supervisor.end(instance.child))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
        self._sweep_later()

    async def close(self) -> None:
        """Stop looking for idle instances, and wait for those that are ending; the supervisor ends the others."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if self._endings:
            await asyncio.wait(self._endings)

    def _told_as_lost(self, instance_id: str, holder: str) -> Failure:
        why = self._instances.why_lost(instance_id)
        where = f"this worker ({holder})" if holder == self._worker_id else f"worker {holder}"
        happened = f"was held by {where} and is gone: {why}" if why else f"is held by {where}, which is not this one"
        return Failure(
            FailureKind.WORKER_LOST,
            f"Instance {instance_id} {happened}. Its state cannot be continued here; make a new instance "
            "(or send create_new_instance=true to start over under the same id).",
        )


def _last_line(message: str) -> str:
    """Of an error with its traceback, the line that names it."""
    return message.rstrip().rpartition("\n")[2]
