"""What the two executors have in common: a request made into a call spec, and what comes of a call."""

import dataclasses
import itertools
import json
import os
from dataclasses import dataclass
from typing import Any, Final, Protocol

from flashtrial.core.errors import FlashtrialError
from flashtrial.process.call_spec import CallSpec
from flashtrial.process.child import CallLimits
from flashtrial.process.environment import Environment
from flashtrial.process.outcome import Failure, Outcome, Raised
from flashtrial.process.packing import NotText, Part, pack
from flashtrial.process.sink import Sink
from flashtrial.protocol.child import RunDefaults
from flashtrial.protocol.execution import (
    ExecutionType,
    FailureKind,
    FunctionRequest,
    InstanceInfo,
    SerializationFormat,
    Tracking,
)
from flashtrial.worker.gpu.damage import Damage, damage_of
from flashtrial.worker.gpu.policy import NoSeat

_numbers: Final = itertools.count(1)


class RequestRefused(FlashtrialError):
    """Raised when a request is well formed but asks for what cannot be done; nothing was run."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a request: the call's outcome, or why there was no call, and what is known of the instance.

    `refresh_worker`: the platform should give this worker up, because a GPU of it is broken.
    """

    result: Outcome | Failure
    instance_id: str | None = None
    instance_info: InstanceInfo | None = None
    refresh_worker: bool = False


class BaseExecutor(Protocol):
    """Runs requests of one kind."""

    async def execute(self, request: FunctionRequest, environment: Environment, sink: Sink) -> Execution:
        """Run `request` with the packages of `environment`; `sink` gets the output while it runs.

        Raises `RequestRefused`.
        """
        ...


def damage_by(outcome: Outcome) -> Damage:
    """How far the error reaches that a call ended in; a call that ended otherwise tells of none."""
    return damage_of(outcome.message) if isinstance(outcome, Raised) else Damage.NONE


def spoils(outcome: Outcome) -> bool:
    """Whether the process that came to `outcome` must take no further call."""
    return damage_by(outcome).retires_child


def without_seat(refusal: NoSeat, instance_id: str | None = None) -> Execution:
    """What is told of a request for which no GPU of this worker will ever do; nothing was run."""
    if refusal.needs_new_worker:
        message = f"No GPU can be given to this call: {refusal}. Send it again; another worker will take it."
        return Execution(Failure(FailureKind.WORKER_LOST, message), instance_id, refresh_worker=True)
    message = f"No GPU of this worker is large enough: {refusal}. Use a larger GPU, or less memory."
    return Execution(Failure(FailureKind.REQUEST, message), instance_id)


def call_limits(request: FunctionRequest, defaults: CallLimits) -> CallLimits:
    """What the call may take: the request's own time limit where it has one, else the worker's."""
    return defaults if request.timeout_s is None else dataclasses.replace(defaults, timeout_s=request.timeout_s)


def call_spec(request: FunctionRequest, *, stream: bool = False) -> CallSpec:
    """The call that `request` asks for. Raises `RequestRefused` when its source or an argument is missing or odd."""
    is_class = request.execution_type is ExecutionType.CLASS
    source = request.class_code if is_class else request.function_code
    target = request.class_name if is_class else request.function_name
    if source is None or target is None:
        field = "class_code" if is_class else "function_code"
        raise RequestRefused(
            f"{field} is missing: this worker runs the source that comes with a request, send it along"
        )
    _refuse_half_characters(request, source, target)
    return CallSpec(
        call_id=f"call_{os.getpid():x}_{next(_numbers):x}",
        target=target,
        source=source,
        modules=request.modules,
        format=request.serialization_format,
        arguments=_packed(request),
        method=_public(request.method_name) if is_class else None,
        stream=stream,
        tracking=_run_defaults(request.tracking),
    )


def _refuse_half_characters(request: FunctionRequest, *texts: str) -> None:
    """JSON can say half of a surrogate pair, no file and no message can."""
    more = (part for module in request.modules.items() for part in module)
    said = request.tracking
    about_runs = () if said is None else (said.run_id or "", said.project or "", said.name or "", *said.tags)
    for text in (*texts, request.method_name, *more, *about_runs):
        try:
            text.isascii() or text.encode()
        except UnicodeEncodeError as error:
            shown = text[max(error.start - 20, 0) : error.end + 20]
            raise RequestRefused(f"{shown!a} has half of a surrogate pair in it, which is no character") from error


def _run_defaults(said: Tracking | None) -> RunDefaults | None:
    return None if said is None else RunDefaults(said.run_id, said.project, said.name, tuple(said.tags))


def _public(method: str) -> str:
    if method.startswith("_") and method != "__call__":
        raise RequestRefused(f"method {method!r} is private; only public methods and __call__ can be called remotely")
    return method


def _packed(request: FunctionRequest) -> tuple[Part, ...]:
    values: list[Any] = [request.args, request.kwargs, request.constructor_args, request.constructor_kwargs]
    if request.serialization_format is SerializationFormat.JSON:
        return (json.dumps(values).encode(),)
    try:
        return pack(*values)
    except NotText:
        raise RequestRefused(_first_not_text(request)) from None


def _first_not_text(request: FunctionRequest) -> str:
    name, value = next((name, value) for name, value in _named(request) if not isinstance(value, str))
    return (
        f"{name} is a {type(value).__name__}, not a base64(cloudpickle) string; "
        'encode it, or send plain values with serialization_format="json"'
    )


def _named(request: FunctionRequest) -> list[tuple[str, Any]]:
    return [
        *((f"args[{place}]", value) for place, value in enumerate(request.args)),
        *((f"kwargs[{name!r}]", value) for name, value in request.kwargs.items()),
        *((f"constructor_args[{place}]", value) for place, value in enumerate(request.constructor_args)),
        *((f"constructor_kwargs[{name!r}]", value) for name, value in request.constructor_kwargs.items()),
    ]
