"""Functions: any warm child of the environment will do."""

from flashtrial.process.child import NO_LIMITS, CallLimits
from flashtrial.process.environment import Environment
from flashtrial.process.sink import Sink
from flashtrial.process.supervisor import Supervisor
from flashtrial.protocol.execution import FunctionRequest
from flashtrial.worker.base_executor import Execution, call_limits, call_spec


class FunctionExecutor:
    """Runs functions from their source; nothing is kept between calls."""

    def __init__(self, supervisor: Supervisor, call_defaults: CallLimits = NO_LIMITS) -> None:
        self._supervisor = supervisor
        self._call_defaults = call_defaults

    async def execute(self, request: FunctionRequest, environment: Environment, sink: Sink) -> Execution:
        """Run the function. Raises `RequestRefused`."""
        spec, limits = call_spec(request, stream=sink.streams), call_limits(request, self._call_defaults)
        return Execution(await self._supervisor.run_function(environment, spec, sink, limits))
