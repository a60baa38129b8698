"""The documented statuses, which keep their case on the wire, and what of ours each stands for."""

from enum import StrEnum

from flashtrial.protocol.control import CommandKind, CommandState, Refusal
from flashtrial.protocol.trials import ExperimentStatus, TrialStatus


class ShownStatus(StrEnum):
    """A run's status."""

    NEW = "NEW"
    ONGOING = "ONGOING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    KILLED = "KILLED"


class ShownSource(StrEnum):
    """Where a run comes from."""

    USER = "USER"
    CLONE_MODIFY = "CLONE_MODIFY"


class ShownTask(StrEnum):
    """How an operation stands."""

    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


RUN_STATUS = {
    TrialStatus.CREATED: ShownStatus.NEW,
    TrialStatus.RUNNING: ShownStatus.ONGOING,
    TrialStatus.PAUSED: ShownStatus.ONGOING,
    TrialStatus.STOPPED: ShownStatus.STOPPED,
    TrialStatus.FINISHED: ShownStatus.COMPLETED,
    TrialStatus.FAILED: ShownStatus.FAILED,
    TrialStatus.DELETED: ShownStatus.KILLED,
    TrialStatus.PRUNED: ShownStatus.STOPPED,
    TrialStatus.LOST: ShownStatus.FAILED,
}

EXPERIMENT_STATUS = {
    ExperimentStatus.NEW: "NEW",
    ExperimentStatus.RUNNING: "RUNNING",
    ExperimentStatus.FINISHED: "COMPLETED",
    ExperimentStatus.FAILED: "FAILED",
}

TASK_STATUS = {
    CommandState.PENDING: ShownTask.PENDING,
    CommandState.DONE: ShownTask.COMPLETED,
    CommandState.REFUSED: ShownTask.FAILED,
    CommandState.WITHDRAWN: ShownTask.FAILED,
    CommandState.EXPIRED: ShownTask.FAILED,
}

REFUSAL_STATUS = {Refusal.ILLEGAL: 409, Refusal.STALE: 409, Refusal.INVALID: 400, Refusal.UNKNOWN_TRIAL: 404}

# The documented words of the interface, sent when the controller has taken the command.
DONE_MESSAGE = {
    CommandKind.STOP: "Stop request created successfully",
    CommandKind.RESUME: "Resume request created successfully",
    CommandKind.DELETE: "Delete request created successfully",
    CommandKind.CLONE_MODIFY: "Clone-modify request created",
}


def ended_by(status: ShownStatus) -> str | None:
    """What ended the run; None while it goes on."""
    return None if status in (ShownStatus.NEW, ShownStatus.ONGOING) else status.value
