"""One request from its arrival to its answer; reading `execute` is reading the list of stages.

::

    event ─parse→ FunctionRequest ─install→ Environment ─run in a child→ Outcome ─answer→ dict
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias

from pydantic import ValidationError

from flashtrial.core.ids import new_id
from flashtrial.process.environment import Environment
from flashtrial.process.outcome import Failure, Raised, Returned, TimedOut, failure_of
from flashtrial.process.output import OutputBuffer
from flashtrial.process.sink import Sink
from flashtrial.protocol.execution import (
    ExecutionType,
    FailureKind,
    FunctionRequest,
    FunctionResponse,
    SerializationFormat,
)
from flashtrial.worker.base_executor import BaseExecutor, Execution, RequestRefused
from flashtrial.worker.class_executor import ClassExecutor
from flashtrial.worker.function_executor import FunctionExecutor
from flashtrial.worker.install.install_errors import InstallFailed
from flashtrial.worker.install.installer_on_demand import Installer
from flashtrial.worker.log_streamer import streaming_to
from flashtrial.worker.loop.live_output import LiveOutput, Streaming
from flashtrial.worker.loop.payload_limits import PayloadLimits, ResultTooLarge
from flashtrial.worker.run_consoles import RunConsoles

Using: TypeAlias = Callable[[Environment], contextlib.AbstractContextManager[None]]

logger = logging.getLogger(__name__)


class RemoteExecutor:
    """Answers requests. Owns none of its parts; safe for many requests at once in one event loop."""

    def __init__(
        self,
        installer: Installer,
        function_executor: FunctionExecutor,
        class_executor: ClassExecutor,
        limits: PayloadLimits | None = None,
        *,
        using: Using | None = None,
        consoles: RunConsoles | None = None,
    ) -> None:
        """`using` is entered while a request uses its environment; `consoles` get what calls with runs print."""
        self._installer = installer
        self._functions = function_executor
        self._classes = class_executor
        self._limits = limits or PayloadLimits()
        self._using = using or _unwatched
        self._consoles = consoles
        self._loop: asyncio.AbstractEventLoop | None = None

    async def execute(self, event: object, live: LiveOutput | None = None) -> dict[str, Any]:
        """The answer to one job, as a JSON-ready dict. Never raises but for cancellation, which ends the call.

        `live` gets what the call says while it runs, and the values that it yields, where the request wants them.
        """
        self._notice_new_loop()
        output = OutputBuffer() if live is None else live
        with streaming_to(output):
            response = await self._recorded(event, output)
            if self._limits.limit_bytes is not None:
                response = await self._limits.fitted(response, _job_id(event))
        return response.to_wire()

    async def _recorded(self, event: object, output: OutputBuffer) -> FunctionResponse:
        if self._consoles is None:
            return await self._answer(event, output)
        console = output.console = self._consoles.of_call()
        try:
            return await self._answer(event, output)
        finally:
            output.console = None
            console.end()

    async def _answer(self, event: object, output: OutputBuffer) -> FunctionResponse:
        try:
            request = parse(event)
            self._limits.check_declared(request)
            environment = await self._installer.environment_for(
                request.dependencies, request.system_dependencies, request.accelerate_downloads
            )
            with self._using(environment):
                execution = await self._executor_for(request).execute(request, environment, _sink(output, request))
            return answered(request, execution, output.text())
        except RequestRefused as refusal:
            return failed(Failure(FailureKind.REQUEST, str(refusal)), output.text())
        except ResultTooLarge as refusal:
            return failed(Failure(FailureKind.RESULT, str(refusal)), output.text())
        except InstallFailed as failure:
            return failed(Failure(failure.kind, str(failure)), output.text())
        except Exception as bug:  # the edge of a request: the worker lives on, and the log has the whole story
            logger.exception("a request failed in the worker itself", extra={"action": "internal_error"})
            message = (
                f"flashtrial's worker failed ({type(bug).__name__}: {bug}); this is a bug of ours, please report it"
            )
            return failed(Failure(FailureKind.INTERNAL, message), output.text())

    def _executor_for(self, request: FunctionRequest) -> BaseExecutor:
        return self._classes if request.execution_type is ExecutionType.CLASS else self._functions

    def _notice_new_loop(self) -> None:
        """One process may serve from several event loops in turn (`asyncio.run` per call); only locks mind."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._classes.forget_loop()


def parse(event: object) -> FunctionRequest:
    """The request in a job such as ``{"id": …, "input": {…}}``. Raises `RequestRefused` naming what is wrong."""
    if not isinstance(event, dict) or not isinstance(event.get("input"), dict):
        raise RequestRefused(
            'a job is {"input": {…}} with a FunctionRequest inside; this one has no object under "input"'
        )
    try:
        return FunctionRequest.model_validate(event["input"])
    except ValidationError as error:
        raise RequestRefused(f"the request cannot be used: {_problems(error)}") from error


def answered(request: FunctionRequest, execution: Execution, stdout: str) -> FunctionResponse:
    """The response for what became of a request."""
    match execution.result:
        case Returned(value=value):
            return _returned(request, execution, value, stdout)
        case Failure() as failure:
            return failed(failure, stdout, execution)
        case outcome:
            return failed(_of_instance(failure_of(outcome), execution.instance_id), stdout, execution)


def _of_instance(failure: Failure, instance_id: str | None) -> Failure:
    """`failure`, which names the instance that was lost in it."""
    if instance_id is None or failure.kind is not FailureKind.WORKER_LOST:
        return failure
    return Failure(failure.kind, f"Instance {instance_id} is lost, and its state with it. {failure.message}")


def failed(failure: Failure, stdout: str, execution: Execution | None = None) -> FunctionResponse:
    """The response for a request without a result."""
    return FunctionResponse(
        success=False,
        error=failure.message or failure.kind,
        error_kind=failure.kind,
        stdout=stdout,
        instance_id=execution.instance_id if execution else None,
        instance_info=execution.instance_info if execution else None,
        tracking=tracking_of(execution) if execution else None,
        refresh_worker=(execution is not None and execution.refresh_worker) or None,
    )


def tracking_of(execution: Execution) -> dict[str, Any] | None:
    """``{run_id, url, last, unsent}`` of the newest run that the call touched, the others under ``others``."""
    match execution.result:
        case Returned(runs=runs) | Raised(runs=runs) | TimedOut(runs=runs) if runs:
            first, *others = map(asdict, runs)
            return {**first, "others": others} if others else first
    return None


def _returned(
    request: FunctionRequest, execution: Execution, value: bytes | memoryview, stdout: str
) -> FunctionResponse:
    if request.serialization_format is SerializationFormat.JSON:
        try:
            result: dict[str, Any] = {"json_result": json.loads(bytes(value))}
        except RecursionError:
            message = "the call returned JSON that is nested too deeply to be sent; return something flatter"
            return failed(Failure(FailureKind.RESULT, message), stdout, execution)
    else:
        result = {"result": str(value, "ascii")}
    return FunctionResponse(
        success=True,
        stdout=stdout,
        instance_id=execution.instance_id,
        instance_info=execution.instance_info,
        tracking=tracking_of(execution),
        **result,
    )


def _unwatched(_environment: Environment) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _sink(output: OutputBuffer, request: FunctionRequest) -> Sink:
    """Where the call's words go; its yielded values too where the request wants them and somebody follows it."""
    if request.stream and isinstance(output, LiveOutput):
        return Streaming(output, is_json=request.serialization_format is SerializationFormat.JSON)
    return output


def _job_id(event: object) -> str:
    """The platform's id of the job; one of our own for a job that came by no platform."""
    match event:
        case {"id": str(job_id)} if job_id:
            return job_id
    return new_id("job")


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'request'}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )
