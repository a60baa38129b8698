"""Class instances: made when missing, kept by id across jobs, each in a child of its own.

An instance that is gone is told as lost and never quietly made again: its state is gone with it, and a counter that
starts over is worse than an error.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flashtrial.core.clock import Clock, utc_from_ms
from flashtrial.core.ids import new_id
from flashtrial.process.call_spec import CallSpec
from flashtrial.process.child import Child
from flashtrial.process.environment import Environment
from flashtrial.process.memory import resident_bytes
from flashtrial.process.outcome import Died, Failure, Outcome, OverMemory, Raised, Returned, TimedOut, failure_of
from flashtrial.process.sink import Sink
from flashtrial.process.supervisor import Supervisor
from flashtrial.protocol.execution import FailureKind, FunctionRequest, InstanceInfo
from flashtrial.worker.base_executor import Execution, call_spec
from flashtrial.worker.ledger import InstanceLedger

_LOST_KEPT: Final = 1024

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Instance:
    """One living instance and what is told about it."""

    child: Child
    class_name: str
    created_at: datetime
    last_used: datetime
    method_calls: int = 0

    @property
    def lives_on(self) -> bool:
        """Whether the object exists and can be called again."""
        return self.child.takes_calls and self.child.conversation.constructed

    def info(self) -> InstanceInfo:
        return InstanceInfo(
            class_name=self.class_name,
            created_at=self.created_at.isoformat(),
            last_used=self.last_used.isoformat(),
            method_calls=self.method_calls,
            memory_bytes=resident_bytes(self.child.process.pid),
        )


class ClassExecutor:
    """Owns the instances of this worker. Calls on one instance take turns; different instances run side by side."""

    def __init__(self, supervisor: Supervisor, ledger: InstanceLedger, worker_id: str, clock: Clock) -> None:
        self._supervisor = supervisor
        self._ledger = ledger
        self._worker_id = worker_id
        self._clock = clock
        self._instances: dict[str, _Instance] = {}
        self._lost: dict[str, str] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def execute(self, request: FunctionRequest, environment: Environment, sink: Sink) -> Execution:
        """Call the method, on the instance of that id, which is made where the rules allow. Raises `RequestRefused`."""
        instance_id = request.instance_id or new_id(request.class_name or "instance")
        async with self._turn(instance_id):
            if request.create_new_instance and request.instance_id is not None:
                await self._replace(instance_id)
            instance = self._instances.get(instance_id)
            if instance is not None:
                return await self._call(instance_id, instance, call_spec(request), sink)
            holder = self._ledger.claim(instance_id)
            if holder != self._worker_id or instance_id in self._lost:
                return Execution(self._told_as_lost(instance_id, holder), instance_id)
            return await self._create(instance_id, request, environment, sink)

    def _turn(self, instance_id: str) -> asyncio.Lock:
        return self._turns.setdefault(instance_id, asyncio.Lock())

    def forget_loop(self) -> None:
        """Another event loop serves from now on: locks belong to the loop they were waited on in."""
        self._turns.clear()

    async def _replace(self, instance_id: str) -> None:
        self._ledger.take_over(instance_id)
        self._lost.pop(instance_id, None)
        if instance := self._instances.pop(instance_id, None):
            logger.info("instance %s is made anew, as asked", instance_id)
            await self._supervisor.end(instance.child)

    async def _create(
        self, instance_id: str, request: FunctionRequest, environment: Environment, sink: Sink
    ) -> Execution:
        now = utc_from_ms(self._clock.time_ms())
        try:
            spec = call_spec(request, construct=True)
            child = await self._supervisor.new_child(environment, spec, holds_instance=True)
        except BaseException:
            self._ledger.release(instance_id)
            raise
        instance = self._instances[instance_id] = _Instance(child, spec.target, now, now)
        return await self._call(instance_id, instance, spec, sink)

    async def _call(self, instance_id: str, instance: _Instance, spec: CallSpec, sink: Sink) -> Execution:
        if not instance.child.takes_calls:
            await self._bury(instance_id, instance, await instance.child.ended())
            return Execution(self._told_as_lost(instance_id, self._worker_id), instance_id)
        instance.method_calls += 1
        try:
            outcome = await instance.child.call(spec, sink)
        except asyncio.CancelledError:
            if not instance.lives_on:
                await self._let_go(instance_id, instance, "a call on it was cancelled, and did not stop when asked")
            raise
        instance.last_used = utc_from_ms(self._clock.time_ms())
        info = instance.info()
        await self._after(instance_id, instance, outcome)
        return Execution(outcome, instance_id, info if isinstance(outcome, Returned | Raised) else None)

    async def _after(self, instance_id: str, instance: _Instance, outcome: Outcome) -> None:
        match outcome:
            case Raised() if not instance.child.conversation.constructed:
                await self._let_go(instance_id, instance, reason=None)
            case TimedOut() if instance.lives_on:
                pass  # it stopped when asked, and lives on
            case Died() | TimedOut() | OverMemory() as end:
                await self._let_go(instance_id, instance, failure_of(end).message)

    async def _bury(self, instance_id: str, instance: _Instance, exit_code: int | None) -> None:
        await self._let_go(instance_id, instance, failure_of(Died(exit_code)).message)

    async def _let_go(self, instance_id: str, instance: _Instance, reason: str | None) -> None:
        """End the child. An instance that had come to be is remembered as lost; one that had not may be tried again."""
        constructed = instance.child.conversation.constructed
        self._instances.pop(instance_id, None)
        if constructed:
            self._lost[instance_id] = reason or "it ended"
            while len(self._lost) > _LOST_KEPT:
                self._lost.pop(next(iter(self._lost)))
        else:
            self._ledger.release(instance_id)
        await asyncio.shield(self._supervisor.end(instance.child))

    def _told_as_lost(self, instance_id: str, holder: str) -> Failure:
        why = self._lost.get(instance_id)
        where = f"this worker ({holder})" if holder == self._worker_id else f"worker {holder}"
        happened = f"was held by {where} and is gone: {why}" if why else f"is held by {where}, which is not this one"
        return Failure(
            FailureKind.WORKER_LOST,
            f"Instance {instance_id} {happened}. Its state cannot be continued here; make a new instance "
            "(or send create_new_instance=true to start over under the same id).",
        )
