"""Bodies and answers of the control routes. Bodies are checked by these models; answers are only described by them."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from flashtrial.protocol.control import CommandKind, CommandState, Refusal
from flashtrial.protocol.trials import ExperimentStatus, TrialStatus
from flashtrial.server.control.epochs import MAX_RUN_IDS
from flashtrial.server.control.json_views import is_storable
from flashtrial.server.records import MAX_INT64, MAX_NAME_CHARS
from flashtrial.server.routes.shapes import Number

LONGEST_LIFE_S = 7 * 24 * 3600.0

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Key = Annotated[int, Field(ge=1, le=MAX_INT64)]
Count = Annotated[int, Field(ge=0, le=MAX_INT64)]
Reason = Annotated[str, Field(max_length=10_000)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=False, extra="ignore")


class RegistrationBody(_Body):
    """A controller that takes over the experiment of this name; `controller_id` is its own, new in each life."""

    name: Name
    controller_id: Name


class RunIdsBody(_Body):
    """How many ids of runs a controller wants."""

    epoch: Count
    count: Annotated[int, Field(ge=1, le=MAX_RUN_IDS)] = 1


class CommandBody(_Body):
    """What is to be done with a trial. Send an `id` of your own to be able to repeat the request."""

    id: Name | None = None
    experiment: Key
    run_id: Key
    kind: CommandKind
    seen_version: Count | None = None
    config: dict[str, JsonValue] | None = None
    warm_start: bool = False
    expires_in_s: Annotated[float, Field(gt=0, le=LONGEST_LIFE_S)] = 300.0

    @field_validator("config")
    @classmethod
    def _is_kept_as_it_is(cls, config: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if not is_storable(config):
            raise ValueError("numbers are finite and fit 64 bits, and maps are nested no deeper than 64")
        return config

    @model_validator(mode="after")
    def _only_clones_are_modified(self) -> Self:
        if self.kind is not CommandKind.CLONE_MODIFY and (self.config is not None or self.warm_start):
            raise ValueError("config and warm_start belong to clone-modify")
        return self


class ReceiptBody(_Body):
    """What a controller answers to a command: `refusal` and `reason`, or nothing of them and it is carried out."""

    command_id: Name
    epoch: Count
    refusal: Refusal | None = None
    reason: Reason | None = None
    new_run_id: Key | None = None


class RegisteredShape(BaseModel):
    """The controller's place. Reports, inbox and receipts carry the epoch."""

    experiment: int
    epoch: int


class RunIdsShape(BaseModel):
    """Ids in a row, nobody else's."""

    first: int
    count: int


class ExperimentShape(BaseModel):
    """An experiment as its controller reported it last."""

    id: int
    name: str
    status: ExperimentStatus
    error: str | None
    mode: str | None
    config_options: dict[str, Any] | None
    metric_experiment_id: str | None
    tracked_run: str | None
    epoch: int
    created_ms: int
    updated_ms: int
    controller_connected: bool


class ExperimentsShape(BaseModel):
    """Experiments, the one begun last first, and the offset of the next page."""

    experiments: list[ExperimentShape]
    next: int | None


class ProgressShape(BaseModel):
    """How far a trial came."""

    current_chunk: int | None
    current_epoch: int | None
    num_chunks_visited: int | None
    num_epochs_completed: int | None
    completed_steps: int | None
    total_steps: int | None


class TrialShape(BaseModel):
    """A trial as its controller reported it last, with config and last values of the run that it tracks."""

    experiment: int
    run_id: int
    epoch: int
    version: int
    status: TrialStatus
    tracked_run: str
    reason: str | None
    parent_run_id: int | None
    warm_start: bool
    config_leaf: dict[str, Any] | None
    progress: ProgressShape
    config: dict[str, Any]
    summary: dict[str, Number]
    created_ms: int
    updated_ms: int


class TrialsShape(BaseModel):
    """Trials by run id, and the offset of the next page."""

    trials: list[TrialShape]
    next: int | None


class CommandShape(BaseModel):
    """A command and what came of it; `number` is the inbox's cursor."""

    id: str
    run_id: int
    kind: CommandKind
    expires_ms: int
    seen_version: int | None
    config: dict[str, Any] | None
    warm_start: bool
    number: int
    experiment: int
    state: CommandState
    created_ms: int
    settled_ms: int | None
    refusal: Refusal | None
    reason: str | None
    new_run_id: int | None


class CommandsShape(BaseModel):
    """Commands, and where to go on: the offset of the next page, or in an inbox the number to ask behind."""

    commands: list[CommandShape]
    next: int | None
