"""MLflow's experiments: our projects under numbers, with names, tags and a life cycle of their own.

An experiment is a project from its first run on, or before it has any; a project that another client made is an
experiment from the first time that somebody looks. Experiment 0, ``Default``, is always there.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from flashtrial.core.clock import Clock
from flashtrial.server.neighbours.ledger import Ledger
from flashtrial.server.neighbours.mlflow.errors import EXISTS, INVALID, MISSING, STATE, MlflowError
from flashtrial.server.neighbours.runs import Runs

ACTIVE, DELETED = "active", "deleted"
DEFAULT_NAME = "Default"
MAX_NAME_CHARS = 500


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment; its runs are those of `project`. Times are milliseconds since the epoch."""

    number: int
    project: str
    name: str
    stage: str
    tags: Mapping[str, str]
    created_ms: int
    updated_ms: int

    def shown(self) -> dict[str, Any]:
        """The experiment as MLflow's answers have it."""
        return {
            "experiment_id": str(self.number),
            "name": self.name,
            "artifact_location": f"mlflow-artifacts:/{self.number}",
            "lifecycle_stage": self.stage,
            "creation_time": self.created_ms,
            "last_update_time": self.updated_ms,
            "tags": [{"key": key, "value": value} for key, value in sorted(self.tags.items())],
        }


class Experiments:
    """All experiments. From any thread."""

    def __init__(self, ledger: Ledger, runs: Runs, clock: Clock) -> None:
        self._ledger = ledger
        self._runs = runs
        self._clock = clock

    def all(self) -> list[Experiment]:
        """Every experiment, newest number first."""
        self._take_in_projects()
        with self._ledger.reading() as connection:
            return [_experiment(row) for row in connection.execute(f"{_SELECT} ORDER BY number DESC")]

    def find(self, number: object) -> Experiment:
        """Raises `MlflowError`."""
        text = str(number)
        if not (text.isascii() and text.isdecimal()):
            raise MlflowError(f"Invalid experiment ID {text!r:.100}. Experiment ID must be a valid integer.", INVALID)
        found = self._one("number = ?", int(text)) if len(text) < 19 else None
        if found is None:
            raise MlflowError(f"No Experiment with id={str(number)[:100]} exists", MISSING)
        return found

    def named(self, name: object) -> Experiment | None:
        """The experiment of this name, deleted ones too."""
        return self._one("name = ?", str(name))

    def of_project(self, project: str) -> Experiment:
        """The experiment whose runs are those of `project`, which has some."""
        found = self._one("project = ?", project)
        return found if found is not None else self._one_after_taking_in(project)

    def is_deleted(self, project: str) -> bool:
        """Whether the experiment of this project was deleted."""
        with self._ledger.reading() as connection:
            row = connection.execute("SELECT stage FROM experiments WHERE project = ?", (project,)).fetchone()
        return row is not None and row[0] == DELETED

    def create(self, name: object, tags: Mapping[str, str]) -> Experiment:
        """A new one. Raises `MlflowError`."""
        name = _checked_name(name)
        if (old := self.named(name)) is not None:
            gone = " in deleted state. You can restore it, or permanently delete it" if old.stage == DELETED else ""
            raise MlflowError(f"Experiment(name={name}) already exists{gone}.", EXISTS)
        with self._ledger.writing() as connection:
            _insert(connection, name, tags, self._clock.time_ms())
        return self.find(self._one_number(name))

    def rename(self, experiment: Experiment, name: object) -> None:
        """Give it another name; its runs stay in their project. Raises `MlflowError`."""
        name = _checked_name(name)
        if experiment.stage == DELETED:
            raise MlflowError("Cannot rename a non-active experiment.", STATE)
        if (other := self.named(name)) is not None and other.number != experiment.number:
            raise MlflowError(f"Experiment(name={name}) already exists.", EXISTS)
        self._change(experiment, "name = ?", name)

    def set_stage(self, experiment: Experiment, stage: str) -> None:
        """Delete or restore it. Raises `MlflowError` where it is so already."""
        if experiment.stage == stage:
            raise MlflowError(f"No Experiment with id={experiment.number} exists that is not {stage}", MISSING)
        self._change(experiment, "stage = ?", stage)

    def change_tags(self, experiment: Experiment, news: Mapping[str, str | None]) -> None:
        """Change tags; None takes one out. Raises `MlflowError`."""
        if experiment.stage == DELETED:
            raise MlflowError(
                f"The experiment {experiment.number} must be in the 'active' state. Current state is deleted.", INVALID
            )
        for key in news.keys() - experiment.tags.keys():
            if news[key] is None:
                raise MlflowError(f"No tag with name: {key[:250]} in experiment with id {experiment.number}", MISSING)
        tags = {key: value for key, value in {**experiment.tags, **news}.items() if value is not None}
        self._change(experiment, "tags = ?", orjson.dumps(tags))

    def _change(self, experiment: Experiment, assignment: str, value: object) -> None:
        with self._ledger.writing() as connection:
            connection.execute(
                f"UPDATE experiments SET {assignment}, updated_ms = ? WHERE number = ?",  # noqa: S608 - our own words
                (value, self._clock.time_ms(), experiment.number),
            )

    def _one(self, condition: str, value: object) -> Experiment | None:
        self._take_in_projects()
        with self._ledger.reading() as connection:
            row = connection.execute(f"{_SELECT} WHERE {condition}", (value,)).fetchone()
        return None if row is None else _experiment(row)

    def _one_number(self, name: str) -> int:
        found = self.named(name)
        assert found is not None
        return found.number

    def _one_after_taking_in(self, project: str) -> Experiment:
        with self._ledger.writing() as connection:
            _insert(connection, project, {}, self._clock.time_ms())
        found = self._one("project = ?", project)
        assert found is not None
        return found

    def _take_in_projects(self) -> None:
        """Make experiments of the projects that are none yet."""
        projects = {name: (first, last) for name, _, first, last in self._runs.projects()}
        with self._ledger.reading() as connection:
            known = {project for (project,) in connection.execute("SELECT project FROM experiments")}
        if not (new := projects.keys() - known) and known:
            return
        with self._ledger.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO experiments VALUES (0, ?, ?, ?, '{}', ?, ?)",
                (DEFAULT_NAME, DEFAULT_NAME, ACTIVE, self._clock.time_ms(), self._clock.time_ms()),
            )
            for project in sorted(new, key=lambda name: projects[name]):
                _insert(connection, project, {}, projects[project][0])


_SELECT = "SELECT number, project, name, stage, tags, created_ms, updated_ms FROM experiments"


def key_values(said: object) -> dict[str, str]:
    """``[{"key", "value"}, …]`` as a map. Raises `MlflowError`."""
    if said is None:
        return {}
    if not isinstance(said, list) or not all(isinstance(item, dict) and "key" in item for item in said):
        raise MlflowError("expected a list of {key, value}", INVALID)
    return {str(item["key"]): str(item.get("value", "")) for item in said}


def _insert(connection: sqlite3.Connection, project: str, tags: Mapping[str, str], now_ms: int) -> None:
    """A renamed experiment may have taken the name of a project that comes later: that one gets a longer name."""
    taken = connection.execute("SELECT 1 FROM experiments WHERE name = ?", (project,)).fetchone()
    connection.execute(
        "INSERT OR IGNORE INTO experiments (project, name, stage, tags, created_ms, updated_ms) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (project, f"{project} (project)" if taken else project, ACTIVE, orjson.dumps(dict(tags)), now_ms, now_ms),
    )


def _experiment(row: tuple[Any, ...]) -> Experiment:
    number, project, name, stage, tags, created_ms, updated_ms = row
    return Experiment(number, project, name, stage, orjson.loads(tags), created_ms, updated_ms)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        raise MlflowError(f"Invalid experiment name: it is a text of 1 to {MAX_NAME_CHARS} characters", INVALID)
    return name
