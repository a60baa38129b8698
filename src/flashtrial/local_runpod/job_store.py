"""All SQL about jobs. Plain calls on one connection; who calls, in which thread and transaction, is not known here.

Each move of a job is one UPDATE that names the states it may come from, so that a job ends once whoever is quicker.
What others should be told is left in `changes`.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from flashtrial.local_runpod.envelope import JobReport, JobRequest
from flashtrial.local_runpod.jobs import EXPIRED, STOPPED, Job, JobStatus, TakenJob, Verdict

DEFAULT_TTL_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Queued:
    """A job waits for a worker."""

    endpoint_id: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A worker holds the job, and may for `timeout_ms` (None: as long as it likes)."""

    endpoint_id: str
    job_id: str
    attempt: int
    timeout_ms: int | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The job has ended; `interrupted` is the worker that still works on it and should stop."""

    endpoint_id: str
    job_id: str
    interrupted: str | None


@dataclass(frozen=True, slots=True)
class Streamed:
    """A chunk of the job's output came in."""

    job_id: str


Change: TypeAlias = Queued | Taken | Ended | Streamed


@dataclass(frozen=True, slots=True)
class Census:
    """How much work an endpoint has; `held` counts the jobs in each worker's hands."""

    queued: int = 0
    held: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How jobs end; `by` is the worker that said so itself, or that is gone, and need not be told to stop."""

    status: JobStatus
    output: bytes | None
    error: str | None
    now_ms: int
    by: str | None


_JOB_COLUMNS = "id, endpoint_id, status, queued_ms, started_ms, finished_ms, worker_id, error, output"


class JobStore:
    """The jobs table. Not for two threads at once: it belongs to the thread that owns `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._changes: list[Change] = []

    def take_changes(self) -> list[Change]:
        """What has changed since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    def add(self, job_id: str, endpoint_id: str, request: JobRequest, now_ms: int, keep_ms: int) -> Job:
        """A new job at the end of the endpoint's queue; its answer is kept for `keep_ms` after its end."""
        self._connection.execute(
            "INSERT INTO jobs (id, endpoint_id, status, queued_ms, timeout_ms, expires_ms, keep_ms, input)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job_id,
                endpoint_id,
                JobStatus.IN_QUEUE,
                now_ms,
                request.execution_timeout_ms,
                now_ms + (request.ttl_ms or DEFAULT_TTL_MS),
                keep_ms,
                request.input,
            ),
        )
        self._changes.append(Queued(endpoint_id))
        return Job(job_id, endpoint_id, JobStatus.IN_QUEUE, now_ms)

    def take(self, endpoint_id: str, worker_id: str, limit: int, sharers: int, now_ms: int) -> list[TakenJob]:
        """Up to `limit` of the oldest waiting jobs, now in the hands of `worker_id`.

        At most a fair share of what waits where `sharers` workers serve the endpoint, so that one that asks for many
        does not leave the others idle; it may ask again at once.
        """
        share = -(-self._waiting(endpoint_id) // max(1, sharers))
        rows = self._connection.execute(
            "SELECT place, id, input FROM jobs WHERE endpoint_id = ? AND status = ? ORDER BY queued_ms, place LIMIT ?",
            (endpoint_id, JobStatus.IN_QUEUE, min(limit, share)),
        ).fetchall()
        for place, job_id, _ in rows:
            attempt, timeout_ms = self._connection.execute(
                "UPDATE jobs SET status = ?, worker_id = ?, started_ms = ?, attempts = attempts + 1 WHERE place = ?"
                " RETURNING attempts, timeout_ms",
                (JobStatus.IN_PROGRESS, worker_id, now_ms, place),
            ).fetchone()
            self._changes.append(Taken(endpoint_id, job_id, attempt, timeout_ms))
        return [TakenJob(job_id, job_input) for _, job_id, job_input in rows]

    def finish(self, worker_id: str, job_id: str, report: JobReport, now_ms: int) -> bool:
        """Whether the report ended the job: false when `worker_id` does not hold it (any more)."""
        status = JobStatus.FAILED if report.error is not None else JobStatus.COMPLETED
        ending = _Ending(status, report.output, report.error, now_ms, by=worker_id)
        return self._end(ending, "worker_id = ? AND id = ?", (worker_id, job_id)) > 0

    def note_progress(self, worker_id: str, job_id: str, output: bytes | None) -> bool:
        """Whether the job is in the hands of `worker_id`; if so its status shows `output` for now."""
        cursor = self._connection.execute(
            "UPDATE jobs SET output = ? WHERE id = ? AND worker_id = ? AND status = ?",
            (output, job_id, worker_id, JobStatus.IN_PROGRESS),
        )
        return cursor.rowcount > 0

    def add_chunk(self, worker_id: str, job_id: str, chunk: bytes) -> bool:
        """Whether the chunk was kept: only from the worker that holds the job."""
        cursor = self._connection.execute(
            "INSERT INTO chunks (job_id, chunk) SELECT id, ? FROM jobs WHERE id = ? AND worker_id = ? AND status = ?",
            (chunk, job_id, worker_id, JobStatus.IN_PROGRESS),
        )
        if cursor.rowcount > 0:
            self._changes.append(Streamed(job_id))
        return cursor.rowcount > 0

    def take_chunks(self, job_id: str) -> list[bytes]:
        """The chunks that nobody was given yet, in order; they are given once."""
        rows = self._connection.execute("DELETE FROM chunks WHERE job_id = ? RETURNING place, chunk", (job_id,))
        return [chunk for _, chunk in sorted(rows.fetchall())]

    def end_job(self, job_id: str, verdict: Verdict, now_ms: int, *, attempt: int | None = None) -> bool:
        """Whether the verdict ended the job: false when it had ended before, or is at another attempt."""
        where, values = "id = ? AND attempts = coalesce(?, attempts)", (job_id, attempt)
        return self._pass(verdict, now_ms, where, values) > 0

    def end_held_by(self, worker_id: str, verdict: Verdict, now_ms: int) -> int:
        """How many jobs in the hands of `worker_id` the verdict ended; the worker is gone and is not told."""
        where, values = "worker_id = ? AND status = ?", (worker_id, JobStatus.IN_PROGRESS)
        return self._end(_Ending(verdict.status, verdict.output, verdict.message, now_ms, by=worker_id), where, values)

    def end_queued(self, endpoint_id: str, verdict: Verdict, now_ms: int) -> int:
        """How many waiting jobs of the endpoint the verdict ended."""
        return self._pass(verdict, now_ms, "endpoint_id = ? AND status = ?", (endpoint_id, JobStatus.IN_QUEUE))

    def end_all(self, endpoint_id: str, verdict: Verdict, now_ms: int) -> int:
        """How many jobs of the endpoint, waiting or running, the verdict ended."""
        return self._pass(verdict, now_ms, "endpoint_id = ?", (endpoint_id,))

    def end_expired(self, now_ms: int) -> int:
        """How many jobs ended because they waited past their time to live."""
        return self._pass(EXPIRED, now_ms, "status = ? AND expires_ms < ?", (JobStatus.IN_QUEUE, now_ms))

    def end_orphans(self, now_ms: int) -> int:
        """How many jobs were in the hands of workers of an earlier life of this program."""
        return self._pass(STOPPED, now_ms, "status = ?", (JobStatus.IN_PROGRESS,))

    def retry(self, endpoint_id: str, job_id: str, now_ms: int) -> bool:
        """Whether the job was put back at the end of its queue; only failed ones may be."""
        cursor = self._connection.execute(
            "UPDATE jobs SET status = ?, queued_ms = ?, expires_ms = expires_ms + ? - queued_ms, started_ms = NULL,"  # noqa: S608
            " finished_ms = NULL, worker_id = NULL, error = NULL, output = NULL"
            f" WHERE endpoint_id = ? AND id = ? AND {_may_become(JobStatus.IN_QUEUE)}",
            (JobStatus.IN_QUEUE, now_ms, now_ms, endpoint_id, job_id),
        )
        if cursor.rowcount > 0:
            self._changes.append(Queued(endpoint_id))
        return cursor.rowcount > 0

    def forget_old(self, now_ms: int) -> int:
        """How many answers were forgotten because nobody has a right to them any more."""
        return self._connection.execute("DELETE FROM jobs WHERE finished_ms + keep_ms < ?", (now_ms,)).rowcount

    def get(self, endpoint_id: str, job_id: str) -> Job | None:
        """The job with its output, None where the endpoint has no such job."""
        row = self._connection.execute(
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE id = ? AND endpoint_id = ?",  # noqa: S608 - our own words
            (job_id, endpoint_id),
        ).fetchone()
        return None if row is None else Job(row[0], row[1], JobStatus(row[2]), *row[3:])

    def is_running(self, endpoint_id: str, job_id: str) -> bool:
        """Whether there is such a job and it has not ended."""
        row = self._connection.execute(
            "SELECT finished_ms IS NULL FROM jobs WHERE id = ? AND endpoint_id = ?", (job_id, endpoint_id)
        ).fetchone()
        return row is not None and bool(row[0])

    def census(self, endpoint_id: str) -> Census:
        """How much work the endpoint has."""
        rows = self._connection.execute(
            "SELECT worker_id, count(*) FROM jobs WHERE endpoint_id = ? AND status = ? GROUP BY worker_id",
            (endpoint_id, JobStatus.IN_PROGRESS),
        )
        return Census(self._waiting(endpoint_id), dict(rows.fetchall()))

    def counts(self, endpoint_id: str) -> dict[str, int]:
        """How many jobs stand in each state, and under ``retried`` how many were tried more than once."""
        rows = self._connection.execute(
            "SELECT status, count(*), sum(attempts > 1) FROM jobs WHERE endpoint_id = ? GROUP BY status", (endpoint_id,)
        ).fetchall()
        return {status: number for status, number, _ in rows} | {"retried": sum(again for *_, again in rows)}

    def held_by(self, worker_id: str, since_ms: int) -> list[str]:
        """The jobs that have been in the hands of `worker_id` since before `since_ms`."""
        rows = self._connection.execute(
            "SELECT id FROM jobs WHERE worker_id = ? AND status = ? AND started_ms < ?",
            (worker_id, JobStatus.IN_PROGRESS, since_ms),
        )
        return [job_id for (job_id,) in rows]

    def count_held_by(self, worker_id: str) -> int:
        """How many jobs are in the hands of `worker_id`."""
        row = self._connection.execute(
            "SELECT count(*) FROM jobs WHERE worker_id = ? AND status = 'IN_PROGRESS'", (worker_id,)
        ).fetchone()
        return int(row[0])

    def not_held(self, worker_id: str, job_ids: Sequence[str]) -> list[str]:
        """Those of `job_ids` that are not (or no longer) in the hands of `worker_id`."""
        held = set(self.held_by(worker_id, since_ms=2**62))
        return [job_id for job_id in job_ids if job_id not in held]

    def _waiting(self, endpoint_id: str) -> int:
        row = self._connection.execute(
            "SELECT count(*) FROM jobs WHERE endpoint_id = ? AND status = ?", (endpoint_id, JobStatus.IN_QUEUE)
        ).fetchone()
        return int(row[0])

    def _pass(self, verdict: Verdict, now_ms: int, where: str, values: Sequence[object]) -> int:
        return self._end(_Ending(verdict.status, verdict.output, verdict.message, now_ms, by=None), where, values)

    def _end(self, ending: _Ending, where: str, values: Sequence[object]) -> int:
        """How many of the jobs that `where` names ended now: those that may still end so."""
        rows = self._connection.execute(
            "UPDATE jobs SET status = ?, output = ?, error = ?, finished_ms = ?"  # noqa: S608 - our own words
            f" WHERE {where} AND {_may_become(ending.status)} RETURNING endpoint_id, id, worker_id",
            (ending.status, ending.output, ending.error, ending.now_ms, *values),
        ).fetchall()
        for endpoint_id, job_id, worker_id in rows:
            self._changes.append(Ended(endpoint_id, job_id, None if worker_id == ending.by else worker_id))
        return len(rows)


def _may_become(status: JobStatus) -> str:
    sources = ", ".join(f"'{source}'" for source in JobStatus if source.may_become(status))
    return f"status IN ({sources})"
