"""Functions: any warm child of the environment will do."""

from flashtrial.process.environment import Environment
from flashtrial.process.sink import Sink
from flashtrial.process.supervisor import Supervisor
from flashtrial.protocol.execution import FunctionRequest
from flashtrial.worker.base_executor import Execution, call_spec


class FunctionExecutor:
    """Runs functions from their source; nothing is kept between calls."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def execute(self, request: FunctionRequest, environment: Environment, sink: Sink) -> Execution:
        """Run the function. Raises `RequestRefused`."""
        return Execution(await self._supervisor.run_function(environment, call_spec(request), sink))
