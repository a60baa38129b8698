"""How many workers an endpoint should have, as a pure decision: the same facts give the same plan."""

from collections.abc import Sequence
from dataclasses import dataclass

from flashtrial.local_runpod.job_store import Census


@dataclass(frozen=True, slots=True)
class Limits:
    """What an endpoint's settings and this machine allow; `concurrency` is how many jobs one worker takes at once."""

    workers_min: int
    workers_max: int
    idle_timeout_s: float
    concurrency: int


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What the decision needs to know of one worker; `idle_since_s` is None while it starts or works."""

    id: str
    is_leaving: bool
    idle_since_s: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again though nothing happened (None: not before something happens)."""

    start: int
    end: tuple[str, ...]
    look_again_at_s: float | None


def plan(limits: Limits, census: Census, workers: Sequence[WorkerFacts], now_s: float) -> Plan:
    """Enough workers for all jobs at once within the limits, at least the minimum; the longest idle leave first.

    The scaler's type and value are not looked at: they trade money for delay, and a local worker costs nothing to hold.
    """
    staying = [worker for worker in workers if not worker.is_leaving]
    most = limits.workers_max
    work = census.queued + sum(census.held.get(worker.id, 0) for worker in staying)
    needed = min(most, -(-work // limits.concurrency))
    wanted = max(needed, min(limits.workers_min, most))
    done = tuple(worker.id for worker in workers if worker.is_leaving and not census.held.get(worker.id))
    idle = sorted(
        (worker.idle_since_s, worker.id)
        for worker in staying
        if worker.idle_since_s is not None and not census.held.get(worker.id)
    )
    spare = max(0, len(staying) - wanted)
    surplus = max(0, len(staying) - most)
    ends = [
        worker_id
        for place, (since_s, worker_id) in enumerate(idle[:spare])
        if place < surplus or now_s - since_s >= limits.idle_timeout_s
    ]
    waits = [since_s + limits.idle_timeout_s for since_s, worker_id in idle[:spare] if worker_id not in ends]
    return Plan(max(0, wanted - len(staying)), (*done, *ends), min(waits, default=None))
