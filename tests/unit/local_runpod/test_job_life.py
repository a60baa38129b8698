"""The jobs table against a plain model: whatever comes in whatever order, every job ends once and none is lost."""

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from flashtrial.core import sqlite
from flashtrial.local_runpod import jobs
from flashtrial.local_runpod.envelope import JobReport, JobRequest
from flashtrial.local_runpod.job_store import Ended, JobStore, Queued, Taken
from flashtrial.local_runpod.jobs import JobStatus
from flashtrial.local_runpod.schema import MIGRATIONS

pytestmark = pytest.mark.unit

ENDPOINTS = ("first", "second")
WORKERS = ("anna", "bert", "carl")


def open_store(directory: Path) -> tuple[sqlite3.Connection, JobStore]:
    connection = sqlite.connect(directory / "jobs.db")
    sqlite.migrate(connection, MIGRATIONS)
    return connection, JobStore(connection)


class JobLife(RuleBasedStateMachine):
    """Clients, workers and the platform's own clockwork act on the store; `holder` and `status` are the model."""

    job_ids = Bundle("job_ids")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.connection, self.store = open_store(Path(self.directory.name))
        self.status: dict[str, JobStatus] = {}
        self.endpoint: dict[str, str] = {}
        self.holder: dict[str, str] = {}
        self.attempt: dict[str, int] = {}
        self.endings: dict[str, int] = {}
        self.now_ms = 1000

    def teardown(self) -> None:
        self.connection.close()
        self.directory.cleanup()

    @rule(target=job_ids, endpoint_id=st.sampled_from(ENDPOINTS))
    def submit(self, endpoint_id: str) -> str:
        job_id = f"job-{len(self.status)}"
        self.store.add(job_id, endpoint_id, JobRequest(b"{}"), self.tick(), keep_ms=10**9)
        self.status[job_id], self.endpoint[job_id] = JobStatus.IN_QUEUE, endpoint_id
        self.attempt[job_id] = self.endings[job_id] = 0
        return job_id

    @rule(endpoint_id=st.sampled_from(ENDPOINTS), worker_id=st.sampled_from(WORKERS), limit=st.integers(1, 4))
    def take(self, endpoint_id: str, worker_id: str, limit: int) -> None:
        waiting = self.waiting(endpoint_id)
        taken = self.store.take(endpoint_id, worker_id, limit, 1, self.tick())
        assert len(taken) == min(limit, len(waiting))
        for job in taken:
            assert job.id in waiting
            self.status[job.id], self.holder[job.id] = JobStatus.IN_PROGRESS, worker_id
            self.attempt[job.id] += 1

    @rule(job_id=job_ids, worker_id=st.sampled_from(WORKERS), error=st.none() | st.just("broken"))
    def finish(self, job_id: str, worker_id: str, error: str | None) -> None:
        report = JobReport(b"1", error, is_progress=False, stops_pod=False)
        is_holder = self.status[job_id] is JobStatus.IN_PROGRESS and self.holder[job_id] == worker_id
        assert self.store.finish(worker_id, job_id, report, self.tick()) == is_holder
        if is_holder:
            self.end(job_id, JobStatus.COMPLETED if error is None else JobStatus.FAILED)

    @rule(job_id=job_ids, worker_id=st.sampled_from(WORKERS))
    def progress(self, job_id: str, worker_id: str) -> None:
        is_holder = self.status[job_id] is JobStatus.IN_PROGRESS and self.holder[job_id] == worker_id
        assert self.store.note_progress(worker_id, job_id, b"0.5") == is_holder

    @rule(job_id=job_ids)
    def cancel(self, job_id: str) -> None:
        may = not self.status[job_id].is_finished
        assert self.store.end_job(job_id, jobs.CANCELLED, self.tick()) == may
        if may:
            self.end(job_id, JobStatus.CANCELLED)

    @rule(job_id=job_ids, lag=st.integers(0, 1))
    def time_out(self, job_id: str, lag: int) -> None:
        """A timer goes off, perhaps one of an earlier attempt."""
        attempt = self.attempt[job_id] - lag
        may = not self.status[job_id].is_finished and lag == 0
        assert self.store.end_job(job_id, jobs.timed_out(1), self.tick(), attempt=attempt) == may
        if may:
            self.end(job_id, JobStatus.FAILED)

    @rule(worker_id=st.sampled_from(WORKERS))
    def lose(self, worker_id: str) -> None:
        held = [job_id for job_id in self.in_state(JobStatus.IN_PROGRESS) if self.holder[job_id] == worker_id]
        assert self.store.end_held_by(worker_id, jobs.worker_lost("gone"), self.tick()) == len(held)
        for job_id in held:
            self.end(job_id, JobStatus.FAILED)

    @rule(endpoint_id=st.sampled_from(ENDPOINTS))
    def purge(self, endpoint_id: str) -> None:
        waiting = self.waiting(endpoint_id)
        assert self.store.end_queued(endpoint_id, jobs.PURGED, self.tick()) == len(waiting)
        for job_id in waiting:
            self.end(job_id, JobStatus.CANCELLED)

    @rule(job_id=job_ids)
    def retry(self, job_id: str) -> None:
        may = self.status[job_id] is JobStatus.FAILED
        assert self.store.retry(self.endpoint[job_id], job_id, self.tick()) == may
        if may:
            self.status[job_id] = JobStatus.IN_QUEUE

    @rule()
    def restart(self) -> None:
        self.connection.close()
        self.connection, self.store = open_store(Path(self.directory.name))
        running = self.in_state(JobStatus.IN_PROGRESS)
        assert self.store.end_orphans(self.tick()) == len(running)
        for job_id in running:
            self.end(job_id, JobStatus.FAILED)

    @invariant()
    def nothing_is_lost_and_all_stands_where_it_should(self) -> None:
        for job_id, status in self.status.items():
            job = self.store.get(self.endpoint[job_id], job_id)
            assert job is not None
            assert job.status is status
            if status is JobStatus.IN_PROGRESS:
                assert job.worker_id == self.holder[job_id]
            assert self.store.is_running(job.endpoint_id, job_id) == (not status.is_finished)

    @invariant()
    def every_end_was_told_once(self) -> None:
        for change in self.store.take_changes():
            if isinstance(change, Ended):
                self.endings[change.job_id] -= 1
        assert not any(self.endings.values())

    def end(self, job_id: str, status: JobStatus) -> None:
        self.status[job_id] = status
        self.endings[job_id] += 1

    def in_state(self, status: JobStatus) -> list[str]:
        return [job_id for job_id, other in self.status.items() if other is status]

    def waiting(self, endpoint_id: str) -> list[str]:
        return [job_id for job_id in self.in_state(JobStatus.IN_QUEUE) if self.endpoint[job_id] == endpoint_id]

    def tick(self) -> int:
        self.now_ms += 1
        return self.now_ms


TestJobLife = JobLife.TestCase
TestJobLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    connection, store = open_store(tmp_path)
    yield store
    connection.close()


def add(store: JobStore, *job_ids: str, ttl_ms: int | None = None) -> None:
    for place, job_id in enumerate(job_ids):
        store.add(job_id, "e", JobRequest(b"{}", 5000, ttl_ms), now_ms=place, keep_ms=100)


def test_jobs_are_handed_out_in_the_order_in_which_they_came(store: JobStore) -> None:
    add(store, "c", "a", "b")
    assert [job.id for job in store.take("e", "w", 2, 1, 10)] == ["c", "a"]
    assert [job.id for job in store.take("e", "w", 2, 1, 10)] == ["b"]


def test_a_worker_takes_no_more_than_its_share_while_others_serve_the_endpoint(store: JobStore) -> None:
    add(store, "a", "b", "c", "d", "e")
    assert len(store.take("e", "w", 8, 2, 10)) == 3
    assert len(store.take("e", "v", 8, 2, 10)) == 1


def test_what_happened_is_told_in_order(store: JobStore) -> None:
    add(store, "a")
    store.take("e", "w", 1, 1, 10)
    store.end_job("a", jobs.CANCELLED, 20)
    assert store.take_changes() == [Queued("e"), Taken("e", "a", 1, 5000), Ended("e", "a", interrupted="w")]
    assert store.take_changes() == []


def test_a_worker_that_finished_its_job_is_not_told_to_stop_it(store: JobStore) -> None:
    add(store, "a")
    store.take("e", "w", 1, 1, 10)
    store.finish("w", "a", JobReport(b"1", None, is_progress=False, stops_pod=False), 20)
    assert store.take_changes()[-1] == Ended("e", "a", interrupted=None)


def test_chunks_are_given_once_and_only_the_holder_adds_any(store: JobStore) -> None:
    add(store, "a")
    assert not store.add_chunk("w", "a", b"0")
    store.take("e", "w", 1, 1, 10)
    assert store.add_chunk("w", "a", b"1")
    assert store.add_chunk("w", "a", b"2")
    assert not store.add_chunk("v", "a", b"3")
    assert store.take_chunks("a") == [b"1", b"2"]
    assert store.take_chunks("a") == []


def test_a_job_that_waited_past_its_time_to_live_fails(store: JobStore) -> None:
    add(store, "short", ttl_ms=10)
    add(store, "long")
    assert store.end_expired(100) == 1
    job = store.get("e", "short")
    assert job is not None
    assert job.status is JobStatus.FAILED


def test_answers_are_forgotten_only_after_they_were_kept_long_enough(store: JobStore) -> None:
    add(store, "a", "b")
    store.end_job("a", jobs.CANCELLED, 1000)
    assert store.forget_old(1100) == 0
    assert store.forget_old(1101) == 1
    assert store.get("e", "a") is None
    assert store.get("e", "b") is not None


def test_jobs_that_a_worker_names_and_does_not_hold_are_found_and_the_other_way_round(store: JobStore) -> None:
    add(store, "a", "b")
    store.take("e", "w", 1, 1, 10)
    assert store.not_held("w", ["a", "b", "z"]) == ["b", "z"]
    assert store.held_by("w", since_ms=11) == ["a"]
    assert store.held_by("w", since_ms=10) == []


def test_an_ended_job_leads_nowhere_but_to_a_retry() -> None:
    for status in JobStatus:
        for other in JobStatus:
            if status.is_finished and status.may_become(other):
                assert other is JobStatus.IN_QUEUE
