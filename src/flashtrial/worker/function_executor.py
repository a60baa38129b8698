"""Functions: any warm child of the environment will do.

Where GPUs are managed, each child has one, and takes its calls to it: a call waits for a turn, and then for a warm
child or a free GPU, whichever there is. A child between calls holds its GPU until somebody else needs it.
"""

import functools
from typing import TYPE_CHECKING

from flashtrial.process.call_spec import CallSpec
from flashtrial.process.child import NO_LIMITS, CallLimits, Child
from flashtrial.process.environment import Environment
from flashtrial.process.outcome import Outcome, Raised, Returned
from flashtrial.process.sink import Sink
from flashtrial.process.supervisor import Supervisor
from flashtrial.protocol.execution import FunctionRequest
from flashtrial.worker.base_executor import Execution, call_limits, call_spec, damage_by, spoils, without_seat
from flashtrial.worker.gpu.policy import NoSeat

if TYPE_CHECKING:
    from flashtrial.worker.gpu.seats import GpuSeats, Seat


class FunctionExecutor:
    """Runs functions from their source; nothing is kept between calls. `gpus` is None where placement is unmanaged."""

    def __init__(
        self, supervisor: Supervisor, call_defaults: CallLimits = NO_LIMITS, gpus: "GpuSeats | None" = None
    ) -> None:
        self._supervisor = supervisor
        self._call_defaults = call_defaults
        self._gpus = gpus

    async def execute(self, request: FunctionRequest, environment: Environment, sink: Sink) -> Execution:
        """Run the function. Raises `RequestRefused`."""
        spec, limits = call_spec(request, stream=sink.streams), call_limits(request, self._call_defaults)
        if self._gpus is None:
            outcome = await self._supervisor.run_function(environment, spec, sink, limits, spoils=spoils)
        else:
            try:
                seat = await self._seat_for(environment, spec, self._gpus)
            except NoSeat as refusal:
                return without_seat(refusal)
            outcome = await self._run_seated(seat, environment, spec, sink, limits)
        return Execution(outcome, refresh_worker=damage_by(outcome).refreshes_worker)

    async def _seat_for(self, environment: Environment, spec: CallSpec, gpus: "GpuSeats") -> "Seat":
        async def warm() -> "Seat | None":
            child = await self._supervisor.warm_child(environment)
            return None if child is None else gpus.seat_of(child)

        return await gpus.take(spec.target, f"functions of {environment.key}", is_expendable=True, reuse=warm)

    async def _launched(self, seat: "Seat", environment: Environment, spec: CallSpec) -> Child:
        try:
            child = await self._supervisor.new_child(
                environment, spec, holds_instance=False, variables=seat.variables, on_end=seat.left
            )
        except BaseException:
            seat.left()
            raise
        seat.occupied(child, functools.partial(self._supervisor.end_if_idle, environment, child))
        return child

    async def _run_seated(
        self, seat: "Seat", environment: Environment, spec: CallSpec, sink: Sink, limits: CallLimits
    ) -> Outcome:
        child = seat.child or await self._launched(seat, environment, spec)
        outcome: Outcome | None = None
        try:
            outcome = await child.call(spec, sink, limits)
            if isinstance(outcome, Returned | Raised):
                await seat.call_ended()  # measured while it lives, even if it is worn
            return outcome
        finally:
            is_spoiled = outcome is not None and spoils(outcome)
            await self._supervisor.give_back(environment, child, is_spoiled=is_spoiled)
            seat.freed()
