"""How long runs are kept, where somebody asked for a limit: rules, and which runs they remove.

Pure. Each rule holds for every project by itself. Only runs that have ended are ever removed, never one tagged `keep`,
and never one that another run was forked from, whose curve begins in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from flashtrial.core import env

DAY_MS = 24 * 3600 * 1000
KEEP_TAG = "keep"


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """At most so many days since a run's last record, so many ended runs, so many bytes of them; 0: no limit."""

    days: float = 0
    runs: int = 0
    size_bytes: int = 0

    @property
    def is_on(self) -> bool:
        return bool(self.days or self.runs or self.size_bytes)

    @classmethod
    def from_env(cls) -> "RetentionRules":
        """What the environment asks for. Raises `ConfigurationError`."""
        return cls(env.number(env.KEEP_DAYS, 0), int(env.number(env.KEEP_RUNS, 0)), int(env.number(env.KEEP_BYTES, 0)))


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that may be removed; `size_bytes` is what it takes in the database and in files."""

    id: str
    project: str
    updated_ms: int
    size_bytes: int = 0


def removable(rules: RetentionRules, runs: Iterable[EndedRun], now_ms: int) -> list[str]:
    """The ids of the runs that the rules remove, oldest first in each project."""
    ordered = sorted(runs, key=lambda run: (run.project, run.updated_ms, run.id))
    found: list[str] = []
    for _, own in groupby(ordered, key=lambda run: run.project):
        found += _of_project(rules, list(own), now_ms)
    return found


def _of_project(rules: RetentionRules, oldest_first: list[EndedRun], now_ms: int) -> list[str]:
    left, left_bytes = len(oldest_first), sum(run.size_bytes for run in oldest_first)
    found: list[str] = []
    for run in oldest_first:
        too_old = rules.days and run.updated_ms < now_ms - rules.days * DAY_MS
        too_many = rules.runs and left > rules.runs
        too_large = rules.size_bytes and left_bytes > rules.size_bytes
        if not (too_old or too_many or too_large):
            break
        found.append(run.id)
        left, left_bytes = left - 1, left_bytes - run.size_bytes
    return found
