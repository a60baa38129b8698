"""SQL that reads experiments, trials and commands. As in `flashtrial.server.views`: from any thread, never waiting."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from flashtrial.protocol.trials import ExperimentStatus, Progress, RunStatus, TrialStatus
from flashtrial.server import views
from flashtrial.server.control.command_rows import COLUMNS, CommandRow, command_row, find_command
from flashtrial.server.storage.reading import reading

_SILENT = (RunStatus.INTERRUPTED, RunStatus.LOST)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list."""

    offset: int = 0
    limit: int = views.MAX_PAGE


@dataclass(frozen=True, slots=True)
class ExperimentView:
    """An experiment as its newest report, and the state of the run that its controller tracks, have it."""

    id: int
    name: str
    status: ExperimentStatus
    error: str | None
    mode: str | None
    config_options: Mapping[str, Any] | None
    metric_experiment_id: str | None
    tracked_run: str | None
    epoch: int
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True)
class TrialView:
    """A trial as its newest report has it, with config and last values of the run that it tracks."""

    experiment: int
    run_id: int
    epoch: int
    version: int
    status: TrialStatus
    tracked_run: str
    reason: str | None
    parent_run_id: int | None
    warm_start: bool
    config_leaf: Mapping[str, Any] | None
    progress: Progress
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    created_ms: int
    updated_ms: int


_EXPERIMENT = (
    "SELECT experiments.number, experiments.name, experiments.status, error, mode, config_options, "
    "metric_experiment_id, tracked_run, epoch, experiments.created_ms, experiments.updated_ms, "
    "runs.status, runs.reason FROM experiments LEFT JOIN runs ON runs.id = tracked_run"
)
_NEWEST_FIRST = "ORDER BY begun_ms DESC, experiments.number DESC"


def experiments(db_path: Path, page: Page) -> list[ExperimentView]:
    """Experiments, the one begun last first."""
    return _experiments(db_path, f"{_NEWEST_FIRST} LIMIT ? OFFSET ?", (page.limit, page.offset))


def experiment_of(db_path: Path, key: int | str) -> ExperimentView | None:
    """The experiment of that number or name."""
    column = "name" if isinstance(key, str) else "number"
    return next(iter(_experiments(db_path, f"WHERE experiments.{column} = ?", (key,))), None)


def running_experiment(db_path: Path) -> ExperimentView | None:
    """The running one that began last."""
    found = _experiments(db_path, f"WHERE experiments.status = 'running' {_NEWEST_FIRST}", ())
    return next((each for each in found if each.status is ExperimentStatus.RUNNING), None)


def current_experiment(db_path: Path) -> ExperimentView | None:
    """The running one that began last; where none runs, the one that began last."""
    return running_experiment(db_path) or next(iter(experiments(db_path, Page(limit=1))), None)


def _experiments(db_path: Path, rest: str, parameters: Sequence[object]) -> list[ExperimentView]:
    with reading(db_path) as connection:
        return [_experiment(row) for row in connection.execute(f"{_EXPERIMENT} {rest}", parameters)]


def _experiment(row: Sequence[Any]) -> ExperimentView:
    number, name, word, error, mode, options, metric_id, tracked_run, epoch, created_ms, updated_ms, *run = row
    status = ExperimentStatus(word)
    if status is ExperimentStatus.RUNNING and run[0] in _SILENT:
        status, error = ExperimentStatus.FAILED, error or run[1] or "its controller ended without a word"
    told = (error, mode, None if options is None else orjson.loads(options), metric_id, tracked_run)
    return ExperimentView(number, name, status, *told, epoch, created_ms, updated_ms)


_TRIAL = (
    "SELECT trials.experiment, run_id, trials.epoch, version, trials.status, trials.tracked_run, trials.reason, "
    "parent_run_id, warm_start, config_leaf, progress, runs.config, runs.summary, trials.created_ms, "
    "trials.updated_ms, experiments.status, own.status, own.reason FROM trials "
    "JOIN experiments ON experiments.number = trials.experiment "
    "LEFT JOIN runs ON runs.id = trials.tracked_run LEFT JOIN runs AS own ON own.id = experiments.tracked_run"
)


def trials(db_path: Path, experiment: int, page: Page) -> list[TrialView]:
    """Trials of an experiment by their run id."""
    where = "WHERE trials.experiment = ? ORDER BY run_id LIMIT ? OFFSET ?"
    return _trials(db_path, where, (experiment, page.limit, page.offset))


def trial_of(db_path: Path, experiment: int, run_id: int) -> TrialView | None:
    """One trial of an experiment."""
    found = _trials(db_path, "WHERE (trials.experiment, run_id) = (?, ?)", (experiment, run_id))
    return next(iter(found), None)


def any_trial(db_path: Path, run_id: int) -> TrialView | None:
    """The trial of that run id: of the experiment that runs, else of the newest one that has it."""
    order = f"WHERE run_id = ? ORDER BY experiments.status <> 'running', {_NEWEST_FIRST.removeprefix('ORDER BY ')}"
    return next(iter(_trials(db_path, order, (run_id,))), None)


def _trials(db_path: Path, rest: str, parameters: Sequence[object]) -> list[TrialView]:
    with reading(db_path) as connection:
        rows = connection.execute(f"{_TRIAL} {rest}", parameters).fetchall()
    return [_trial(db_path, row) for row in rows]


def _trial(db_path: Path, row: Sequence[Any]) -> TrialView:
    number, run_id, epoch, version, word, tracked_run, reason, parent, warm, leaf, progress, *run = row
    config, summary, created_ms, updated_ms, experiment_status, own_status, own_reason = run
    status = TrialStatus(word)
    if status.is_live and experiment_status == ExperimentStatus.RUNNING and own_status in _SILENT:
        status, reason = TrialStatus.LOST, own_reason or "its controller ended without a word"
    told = (status, tracked_run, reason, parent, bool(warm), None if leaf is None else orjson.loads(leaf))
    tracked = ({} if config is None else orjson.loads(config), _summary(db_path, tracked_run, config, summary))
    known = Progress(**orjson.loads(progress))
    return TrialView(number, run_id, epoch, version, *told, known, *tracked, created_ms, updated_ms)


def _summary(db_path: Path, tracked_run: str, config: str | None, summary: str | None) -> Mapping[str, Any]:
    """Last values; a run of very many metrics has them not in its row."""
    if summary is not None:
        parsed: Mapping[str, Any] = orjson.loads(summary)
        return parsed
    run = None if config is None else views.read_run(db_path, tracked_run)
    return {} if run is None else run["summary"]


def printed_lines(db_path: Path, run_id: str, page: Page | None) -> list[str]:
    """What the run printed, oldest first; without a page its last thousand lines."""
    order = "ASC" if page else "DESC"
    part = page or Page()
    with reading(db_path) as connection:
        rows = connection.execute(
            "SELECT number, text FROM console WHERE run = (SELECT number FROM runs WHERE id = ?) "  # noqa: S608 - our own words
            f"ORDER BY number {order} LIMIT ? OFFSET ?",
            (run_id, part.limit, part.offset),
        ).fetchall()
    return [text for _, text in sorted(rows)]


def command_of(db_path: Path, command_id: str, now_ms: int) -> CommandRow | None:
    """The command of that id."""
    with reading(db_path) as connection:
        return find_command(connection, command_id, now_ms)


def waiting_commands(db_path: Path, experiment: int, after: int, now_ms: int) -> list[CommandRow]:
    """What waits for a receipt, behind the command of that number, oldest first."""
    where = "WHERE experiment = :experiment AND number > :after AND state = 'pending' AND expires_ms > :now_ms"
    facts = {"experiment": experiment, "after": after, "now_ms": now_ms, "limit": views.MAX_PAGE}
    return _commands(db_path, f"{where} ORDER BY number LIMIT :limit", facts)


def commands(db_path: Path, experiment: int | None, page: Page, now_ms: int) -> list[CommandRow]:
    """Commands to one experiment or to all, newest first."""
    where = "WHERE :experiment IS NULL OR experiment = :experiment ORDER BY number DESC LIMIT :limit OFFSET :offset"
    return _commands(db_path, where, {**asdict(page), "experiment": experiment, "now_ms": now_ms})


def _commands(db_path: Path, where: str, parameters: Mapping[str, object]) -> list[CommandRow]:
    with reading(db_path) as connection:
        return [command_row(row) for row in _rows(connection, where, parameters)]


def _rows(connection: sqlite3.Connection, where: str, parameters: Mapping[str, object]) -> sqlite3.Cursor:
    return connection.execute(f"SELECT {COLUMNS} FROM commands {where}", parameters)  # noqa: S608 - our own words
