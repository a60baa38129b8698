"""The states of runs, trials and experiments, and what a controller reports of them. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class RunStatus(StrEnum):
    """Where a tracked run stands. `stopped` may resume; `interrupted`: ended from outside; `lost`: fell silent."""

    CREATED = "created"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    LOST = "lost"

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended, well or badly. A later `running` record opens it again (resume)."""
        return self not in (RunStatus.CREATED, RunStatus.RUNNING)


class TrialStatus(StrEnum):
    """Where a trial stands. `stopped` may resume; `pruned` ended by the search or a budget; `lost` fell silent."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    DELETED = "deleted"
    PRUNED = "pruned"
    LOST = "lost"

    @property
    def is_live(self) -> bool:
        """Whether its controller is expected to go on with it."""
        return self in (TrialStatus.CREATED, TrialStatus.RUNNING, TrialStatus.PAUSED)


class ExperimentStatus(StrEnum):
    """Where an experiment stands."""

    NEW = "new"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


# The name and the type of the `data` records that bring reports.
TRIAL_DATA = "trial"
EXPERIMENT_DATA = "experiment"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a trial came; chunks and epochs count from 0, None is not known."""

    current_chunk: int | None = None
    current_epoch: int | None = None
    num_chunks_visited: int | None = None
    num_epochs_completed: int | None = None
    completed_steps: int | None = None
    total_steps: int | None = None


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What a controller says of one trial, whole each time; the highest (epoch, version) of a trial is its state.

    `epoch` is the controller's (0: it never met the server); `version` grows with each report. `tracked_run` is the run
    of its metrics, None where that is the run which the record is on. `reason`: why it stopped or failed.
    """

    experiment: str
    run_id: int
    epoch: int
    version: int
    status: TrialStatus
    tracked_run: str | None = None
    reason: str | None = None
    parent_run_id: int | None = None
    warm_start: bool = False
    config_leaf: Mapping[str, Any] | None = None
    progress: Progress = Progress()

    def body(self) -> dict[str, Any]:
        """The body of the `data` record."""
        return {"name": TRIAL_DATA, "type": TRIAL_DATA, "step": None, "value": asdict(self)}


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """What a controller says of its experiment, on its own run, whose output is the experiment's log; else as above."""

    experiment: str
    epoch: int
    version: int
    status: ExperimentStatus
    error: str | None = None
    mode: str | None = None
    config_options: Mapping[str, Any] | None = None
    metric_experiment_id: str | None = None

    def body(self) -> dict[str, Any]:
        """The body of the `data` record."""
        return {"name": EXPERIMENT_DATA, "type": EXPERIMENT_DATA, "step": None, "value": asdict(self)}
