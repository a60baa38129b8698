"""Runs, experiments and operations in the shapes of the dispatcher interface."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson

from flashtrial.core.clock import utc_from_ms
from flashtrial.core.nested import leaves
from flashtrial.protocol.control import CommandState
from flashtrial.server.control.command_rows import CommandRow
from flashtrial.server.control.control_views import ExperimentView, TrialView
from flashtrial.server.dispatcher.words import (
    EXPERIMENT_STATUS,
    RUN_STATUS,
    TASK_STATUS,
    ShownSource,
    ShownStatus,
    ended_by,
)


def run_shown(trial: TrialView) -> dict[str, Any]:
    """A RunView."""
    status = RUN_STATUS[trial.status]
    source = ShownSource.USER if trial.parent_run_id is None else ShownSource.CLONE_MODIFY
    return {
        "run_id": trial.run_id,
        "run_name": f"run_{trial.run_id}",
        "status": status,
        **asdict(trial.progress),
        "progress": _fraction(trial),
        "metrics": orjson.dumps(trial.summary).decode(),
        "config_leaf": trial.config if trial.config_leaf is None else trial.config_leaf,
        "config": trial.config,
        "full_config": trial.config,
        "flattened_config": dict(leaves(trial.config, ".")),
        "source": source,
        "parent_run_id": trial.parent_run_id,
        "warm_start": trial.warm_start,
        "metric_run_id": trial.tracked_run,
        "error": trial.reason if status is ShownStatus.FAILED else None,
        "reason": trial.reason,
        "ended_by": ended_by(status),
    }


def _fraction(trial: TrialView) -> float | None:
    """How much of the steps is done, from 0 to 1; None where the steps are not known."""
    done, total = trial.progress.completed_steps, trial.progress.total_steps
    return min(1.0, (done or 0) / total) if total else None


def experiment_shown(experiment: ExperimentView) -> dict[str, Any]:
    """An experiment as found by its name."""
    return {
        "experiment_id": experiment.id,
        "experiment_name": experiment.name,
        "status": EXPERIMENT_STATUS[experiment.status],
        "error": experiment.error,
        "metric_experiment_id": experiment.metric_experiment_id,
        "experiment_mode": experiment.mode,
    }


def running_shown(experiment: ExperimentView) -> dict[str, Any]:
    """The running experiment."""
    return {**experiment_shown(experiment), "config_options": experiment.config_options}


def operation_shown(row: CommandRow) -> dict[str, Any]:
    """An operation, pending or done."""
    return {
        "ic_id": row.number,
        "run_id": row.command.run_id,
        "operation": row.command.kind.replace("-", "_"),
        "status": TASK_STATUS[row.state],
        "error": _why_not(row),
        "created_at": _when(row.created_ms),
        "processed_at": None if row.settled_ms is None else _when(row.settled_ms),
    }


def _why_not(row: CommandRow) -> str | None:
    if row.state in (CommandState.PENDING, CommandState.DONE):
        return None
    return row.reason or row.refusal or row.state


def command_lines(newest_first: list[CommandRow]) -> list[str]:
    """What became of commands, two lines each at most, by time."""
    lines = [line for row in newest_first for line in _lines_of(row)]
    return [f"{_when(time_ms)} | {text}" for time_ms, _, _, text in sorted(lines)]


def _lines_of(row: CommandRow) -> Iterator[tuple[int, int, int, str]]:
    """The lines of one command, each behind what it is sorted by."""
    what = f"{row.command.kind} of run {row.command.run_id}"
    yield row.created_ms, row.number, 0, f"{what}: asked for"
    if row.state is CommandState.DONE:
        made = "" if row.new_run_id is None else f", run {row.new_run_id} made"
        yield row.settled_ms or row.command.expires_ms, row.number, 1, f"{what}: done{made}"
    elif row.state is not CommandState.PENDING:
        why = f" ({row.reason or row.refusal})" if row.refusal else ""
        yield row.settled_ms or row.command.expires_ms, row.number, 1, f"{what}: {row.state}{why}"


def _when(time_ms: int) -> str:
    return utc_from_ms(time_ms).isoformat(timespec="milliseconds")
