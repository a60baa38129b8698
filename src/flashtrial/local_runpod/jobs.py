"""The life of a job: its states, what may follow what, and how the platform words an end that no worker told."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from flashtrial.protocol.execution import FailureKind

SYNC_PREFIX = "sync"
"""Ids of jobs that came by ``/runsync`` begin so, as RunPod's own do; other limits hold for their answers."""


class JobStatus(StrEnum):
    """Where a job stands. The values are RunPod's own and keep their case."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended; only an explicit retry leads on from here."""
        return self not in (JobStatus.IN_QUEUE, JobStatus.IN_PROGRESS)

    def may_become(self, other: "JobStatus") -> bool:
        """Whether a job in this state may move to `other`."""
        return other in _MOVES[self]


_ENDS_UNTOLD = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.TIMED_OUT})
_MOVES: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        JobStatus.IN_QUEUE: _ENDS_UNTOLD | {JobStatus.IN_PROGRESS},
        JobStatus.IN_PROGRESS: _ENDS_UNTOLD | {JobStatus.COMPLETED},
        JobStatus.COMPLETED: frozenset(),
        JobStatus.FAILED: frozenset({JobStatus.IN_QUEUE}),
        JobStatus.CANCELLED: frozenset(),
        JobStatus.TIMED_OUT: frozenset({JobStatus.IN_QUEUE}),
    }
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job as a client may see it; times are wall milliseconds, `output` is JSON that nobody here has read."""

    id: str
    endpoint_id: str
    status: JobStatus
    queued_ms: int
    started_ms: int | None = None
    finished_ms: int | None = None
    worker_id: str | None = None
    error: str | None = None
    output: bytes | None = None

    @property
    def delay_ms(self) -> int:
        """How long the job waited for a worker; 0 while it still waits."""
        return max(0, (self.started_ms or self.finished_ms or self.queued_ms) - self.queued_ms)

    @property
    def execution_ms(self) -> int:
        """How long a worker had the job; 0 until it has ended."""
        if self.started_ms is None or self.finished_ms is None:
            return 0
        return max(0, self.finished_ms - self.started_ms)


@dataclass(frozen=True, slots=True)
class TakenJob:
    """What a worker is handed."""

    id: str
    input: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job ends when no worker said so: the platform's own words, and the kind for clients that know ours."""

    status: JobStatus
    kind: FailureKind
    message: str

    @property
    def output(self) -> bytes:
        """The answer's body; the stock SDK looks for `stdout` in it, our clients for `error_kind`."""
        return f'{{"success": false, "error_kind": "{self.kind}", "stdout": ""}}'.encode()


CANCELLED = Verdict(JobStatus.CANCELLED, FailureKind.CANCELLED, "the job was cancelled")
PURGED = Verdict(JobStatus.CANCELLED, FailureKind.CANCELLED, "the job was removed when its queue was purged")
DELETED = Verdict(JobStatus.CANCELLED, FailureKind.CANCELLED, "the job's endpoint was deleted")
EXPIRED = Verdict(
    JobStatus.FAILED, FailureKind.TIMEOUT, "the job waited longer in the queue than its time to live allows"
)
STOPPED = Verdict(
    JobStatus.FAILED,
    FailureKind.WORKER_LOST,
    "worker lost: flashtrial was stopped while the job ran; submit it again",
)
UNANSWERED = Verdict(
    JobStatus.FAILED,
    FailureKind.WORKER_LOST,
    "worker lost the job: it stopped working on it and sent no answer; its log says why",
)


def timed_out(timeout_ms: int) -> Verdict:
    """The end of a job that ran past its limit. FAILED, because ``@remote`` waits on for ever at TIMED_OUT."""
    return Verdict(
        JobStatus.FAILED,
        FailureKind.TIMEOUT,
        f"the job ran longer than its execution timeout of {timeout_ms} ms and was stopped; "
        "raise executionTimeoutMs on the endpoint if it needs more",
    )


def worker_lost(reason: str) -> Verdict:
    """The end of a job whose worker died; `reason` continues "worker lost: "."""
    return Verdict(JobStatus.FAILED, FailureKind.WORKER_LOST, f"worker lost: {reason}")
