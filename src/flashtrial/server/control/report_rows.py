"""SQL that writes what controllers report, in the transaction that stores the records: of each trial the newest."""

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, astuple
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import EXPERIMENT_DATA, TRIAL_DATA, ExperimentReport, TrialReport
from flashtrial.server.records import MAX_INT64, MAX_NAME_CHARS, DocumentRecord

logger = logging.getLogger(__name__)

Report = TrialReport | ExperimentReport

_SHAPES: dict[str, TypeAdapter[Any]] = {
    TRIAL_DATA: TypeAdapter(TrialReport),
    EXPERIMENT_DATA: TypeAdapter(ExperimentReport),
}


def take_reports(connection: sqlite3.Connection, run_id: str, documents: Iterable[DocumentRecord]) -> None:
    """Make the newest reports among the data records of a run the state of what they are about.

    What is no report, though it is called one, stays data like any other.
    """
    for document in documents:
        if document.kind is RecordKind.DATA and document.name in _SHAPES:
            try:
                report = parse_report(document)
            except ValueError as error:
                logger.warning("no report: %s", error, extra={"action": "report_unreadable", "run_id": run_id})
                continue
            _take(connection, run_id, report, document.time_ms)


def parse_report(document: DocumentRecord) -> Report:
    """The report in a data record. Raises `ValueError`."""
    body = orjson.loads(document.body)
    if body.get("type") != document.name:
        raise ValueError(f"a record named {document.name} of type {body.get('type')!r:.100}")
    try:
        report: Report = _SHAPES[document.name].validate_json(orjson.dumps(body.get("value")), strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(f"{part['loc']}: {part['msg']}" for part in error.errors()[:5])) from error
    if not 0 < len(report.experiment) <= MAX_NAME_CHARS:
        raise ValueError(f"the experiment's name has 1 to {MAX_NAME_CHARS} characters")
    numbers = list(_numbers(astuple(report)))
    if any(not 0 <= number <= MAX_INT64 for number in numbers):
        raise ValueError("numbers are 0 or more, and fit 63 bits")
    return report


def _numbers(values: Iterable[object]) -> Iterable[int]:
    """The whole numbers of a report; those inside maps are kept as JSON and may be anything."""
    for value in values:
        if isinstance(value, tuple):
            yield from _numbers(value)
        elif isinstance(value, int):
            yield value


def _take(connection: sqlite3.Connection, run_id: str, report: Report, time_ms: int) -> None:
    number, epoch = connection.execute(
        "INSERT INTO experiments (name, created_ms, begun_ms, updated_ms) VALUES (:name, :ms, :ms, :ms) "
        "ON CONFLICT (name) DO UPDATE SET updated_ms = max(updated_ms, :ms) RETURNING number, epoch",
        {"name": report.experiment, "ms": time_ms},
    ).fetchone()
    if report.epoch < epoch:
        logger.info("a report of an older epoch changes nothing", extra={"action": "report_superseded"})
    elif isinstance(report, TrialReport):
        _take_trial(connection, number, run_id, report, time_ms)
    else:
        _take_experiment(connection, number, run_id, report)


def _take_trial(connection: sqlite3.Connection, experiment: int, run_id: str, report: TrialReport, ms: int) -> None:
    connection.execute(
        "INSERT INTO trials (experiment, run_id, epoch, version, status, tracked_run, reason, parent_run_id, "
        "warm_start, config_leaf, progress, created_ms, updated_ms) VALUES (:number, :run_id, :epoch, :version, "
        ":status, :tracked_run, :reason, :parent_run_id, :warm_start, :config_leaf, :progress, :ms, :ms) "
        "ON CONFLICT (experiment, run_id) DO UPDATE SET epoch = :epoch, version = :version, status = :status, "
        "tracked_run = :tracked_run, reason = :reason, parent_run_id = :parent_run_id, warm_start = :warm_start, "
        "config_leaf = :config_leaf, progress = :progress, updated_ms = :ms "
        "WHERE (:epoch, :version) > (trials.epoch, trials.version)",
        {
            **asdict(report),
            "number": experiment,
            "tracked_run": report.tracked_run or run_id,
            "config_leaf": as_json(report.config_leaf),
            "progress": as_json(asdict(report.progress)),
            "ms": ms,
        },
    )


def _take_experiment(connection: sqlite3.Connection, number: int, run_id: str, report: ExperimentReport) -> None:
    connection.execute(
        "UPDATE experiments SET status = :status, error = :error, mode = :mode, config_options = :config_options, "
        "metric_experiment_id = :metric_experiment_id, tracked_run = :tracked_run, told_epoch = :epoch, "
        "told_version = :version WHERE number = :number AND (:epoch, :version) > (told_epoch, told_version)",
        {
            **asdict(report),
            "config_options": as_json(report.config_options),
            "tracked_run": run_id,
            "number": number,
        },
    )


def as_json(value: object) -> str | None:
    """`value` as the tables keep maps."""
    return None if value is None else orjson.dumps(value).decode()
