"""Experiments, trials and commands as the native API shows them."""

from dataclasses import asdict
from typing import Any

import orjson

from flashtrial.server.control.command_rows import CommandRow
from flashtrial.server.control.control_views import ExperimentView, TrialView
from flashtrial.server.records import MAX_DEPTH


def experiment_json(experiment: ExperimentView, *, is_connected: bool) -> dict[str, Any]:
    """An experiment, and whether its controller listens."""
    return {**asdict(experiment), "controller_connected": is_connected}


def trial_json(trial: TrialView) -> dict[str, Any]:
    """A trial with its progress, configuration and last values."""
    return asdict(trial)


def command_json(row: CommandRow) -> dict[str, Any]:
    """A command flat: what was asked beside what came of it."""
    return {
        **asdict(row.command),
        "number": row.number,
        "experiment": row.experiment,
        "state": row.state,
        "created_ms": row.created_ms,
        "settled_ms": row.settled_ms,
        "refusal": row.refusal,
        "reason": row.reason,
        "new_run_id": row.new_run_id,
    }


def is_storable(value: object) -> bool:
    """Whether JSON gives back exactly this: no NaN, no number beyond 64 bits, nothing nested deeper than 64."""
    try:
        return _depth(value) <= MAX_DEPTH and bool(orjson.loads(orjson.dumps(value)) == value)
    except orjson.JSONEncodeError:
        return False


def _depth(value: object) -> int:
    """How deeply maps and lists are nested; what is beyond `MAX_DEPTH` is not looked into."""
    level, depth = [value], 0
    while depth <= MAX_DEPTH and (nested := [each for each in level if isinstance(each, dict | list)]):
        level = [part for each in nested for part in (each.values() if isinstance(each, dict) else each)]
        depth += 1
    return depth
