"""The messages between a RunPod client and the worker, in our own model.

The shapes are those of ``runpod_flash.protos.remote_execution`` (runpod-flash 1.21), to which a test holds them equal;
importing that module costs half a second, ours a tenth. ``runpod`` 2.0's requests (module source, plain JSON arguments)
are a subset. Fields that the SDK does not know are dropped by it and read by us: `tracking`, `timeout_s` (seconds until
the call is ended), `stream` (a generator's values are wanted as they come), `expected_result_bytes`, `error_kind`,
`result_ref` (where a result lies that is too large for an answer: path, bytes, sha256, format), `gpu_memory_bytes`, and
`refresh_worker` (true: the platform is to give this worker up; it takes the field out of the answer).
"""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FailureKind(StrEnum):
    """Why a call has no result; decides wording and whether a retry can help. Nobody parses messages."""

    REQUEST = "request"
    INSTALL = "install"
    USER_CODE = "user_code"
    RESULT = "result"
    WORKER_LOST = "worker_lost"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INTERNAL = "internal"

    @property
    def may_be_retried(self) -> bool:
        """Whether the same request may succeed on another attempt without anybody changing anything."""
        return self in (FailureKind.WORKER_LOST, FailureKind.INTERNAL)


class ExecutionType(StrEnum):
    FUNCTION = "function"
    CLASS = "class"


class SerializationFormat(StrEnum):
    CLOUDPICKLE = "cloudpickle"
    JSON = "json"


class Tracking(BaseModel):
    """Which run the call's metrics belong to; every field may be left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    run_id: str | None = None
    project: str | None = None
    name: str | None = None
    tags: list[str] = Field(default_factory=list)


class FunctionRequest(BaseModel):
    """What the caller wants run. Arguments stay encoded: base64(cloudpickle) each, or plain JSON values."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    function_name: str | None = None
    function_code: str | None = None
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    dependencies: list[str] | None = None
    system_dependencies: list[str] | None = None
    modules: dict[str, str] = Field(default_factory=dict)
    execution_type: ExecutionType = ExecutionType.FUNCTION
    class_name: str | None = None
    class_code: str | None = None
    constructor_args: list[Any] = Field(default_factory=list)
    constructor_kwargs: dict[str, Any] = Field(default_factory=dict)
    method_name: str = "__call__"
    instance_id: str | None = None
    create_new_instance: bool = True
    accelerate_downloads: bool = True
    serialization_format: SerializationFormat = SerializationFormat.CLOUDPICKLE
    tracking: Tracking | None = None
    timeout_s: float | None = Field(default=None, gt=0)
    stream: bool = False
    expected_result_bytes: int | None = None

    @model_validator(mode="after")
    def _names_what_it_wants_run(self) -> "FunctionRequest":
        if self.execution_type is ExecutionType.FUNCTION and self.function_name is None:
            raise ValueError('function_name is required when execution_type is "function"')
        if self.execution_type is ExecutionType.CLASS and self.class_name is None:
            raise ValueError('class_name is required when execution_type is "class"')
        return self


class InstanceInfo(BaseModel):
    """What is known of a persisted instance at the end of a call."""

    model_config = ConfigDict(frozen=True)

    class_name: str
    created_at: str
    last_used: str
    method_calls: int
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None


class FunctionResponse(BaseModel):
    """The answer: `success` is false exactly when `error` is set, and `stdout` is always there."""

    model_config = ConfigDict(frozen=True)

    success: bool
    result: str | None = None
    json_result: Any = None
    error: str | None = None
    error_kind: FailureKind | None = None
    stdout: str = ""
    instance_id: str | None = None
    instance_info: InstanceInfo | None = None
    tracking: dict[str, Any] | None = None
    result_ref: dict[str, Any] | None = None
    refresh_worker: bool | None = None

    @model_validator(mode="after")
    def _fails_with_a_reason(self) -> "FunctionResponse":
        if self.success == (self.error is not None):
            raise ValueError("success is false exactly when error is set")
        return self

    def to_wire(self) -> dict[str, Any]:
        """The JSON-ready dict the platform carries: what was set and is not None, `stdout`, and a JSON null result."""
        wire = {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None}
        if self.instance_info is not None:
            wire["instance_info"] = self.instance_info.model_dump(exclude_none=True)
        if "json_result" in self.model_fields_set:
            wire["json_result"] = self.json_result
        if self.error_kind is not None:
            wire["error_kind"] = self.error_kind.value
        return {**wire, "stdout": self.stdout}
