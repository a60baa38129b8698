"""From a delivered job to its delivered answer: whatever the platform repeats, loses or refuses."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashtrial.worker.loop.drain import Drain
from flashtrial.worker.loop.job_desk import JobDesk, until_done
from flashtrial.worker.loop.job_reporter import Delivery
from flashtrial.worker.loop.job_slots import JobSlots
from flashtrial.worker.loop.job_taker import Job
from flashtrial.worker.loop.live_output import LiveOutput
from testkit.waiting import wait_until_async

Handler = Callable[[Job], Awaitable[dict[str, Any]]]


class Platform:
    """Takes answers as told: in turn, then always. A lost acknowledgement is one whose answer it has all the same."""

    def __init__(self, fates: Sequence[str] = ()) -> None:
        self.answers: dict[str, list[dict[str, Any]]] = {}
        self.acknowledged: set[str] = set()
        self._fates = list(fates)

    async def answer(self, job_id: str, body: bytes, /) -> Delivery:
        fate = self._fates.pop(0) if self._fates else "taken"
        if fate in ("taken", "ack lost"):
            self.answers.setdefault(job_id, []).append(json.loads(body))
        if fate == "taken":
            self.acknowledged.add(job_id)
            return Delivery.TAKEN
        return {"too large": Delivery.TOO_LARGE, "refused": Delivery.REFUSED}.get(fate, Delivery.GIVEN_UP)

    async def progress(self, _job_id: str, _output: Mapping[str, Any], /) -> Delivery:
        return Delivery.TAKEN

    async def chunk(self, _job_id: str, _body: bytes, /) -> Delivery:
        return Delivery.TAKEN


class Worker:
    """Counts what it runs. A job's input says how it ends."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.ended: list[str] = []

    async def handle(self, event: object, live: LiveOutput | None = None) -> dict[str, Any]:
        assert isinstance(event, dict)
        self.effects[event["id"]] += 1
        assert live is not None
        live.output(b"said")
        try:
            match event["input"]:
                case "fail":
                    return {"success": False, "error": "it failed", "stdout": "said"}
                case "endless":
                    await asyncio.sleep(3600)
                case "refresh":
                    return {"success": False, "error": "broken", "stdout": "", "refresh_worker": True}
        finally:
            self.ended.append(event["id"])
        return {"success": True, "json_result": event["id"], "stdout": "said"}


async def run_job(handler: Handler, job: Job) -> dict[str, Any]:
    """As the SDK's does: the error beside the output, `refresh_worker` as `stopPod`."""
    output = await handler(job)
    fields = {name: output.pop(name) for name in ("error",) if name in output}
    if output.pop("refresh_worker", False):
        fields["stopPod"] = True
    return {"output": output, **fields}


class Office:
    """A desk with its parts."""

    def __init__(self, fates: Sequence[str] = (), grace_s: float = 3600.0) -> None:
        self.platform = Platform(fates)
        self.worker = Worker()
        self.slots = JobSlots(4)
        self.drain = Drain(grace_s)
        self.desk = JobDesk(self.worker, self.platform, self.slots, self.drain)

    def deliver(self, job_id: str, job_input: str = "return") -> "asyncio.Task[None] | None":
        """What the loop does with a delivery; None when it is joined with one that runs."""
        if not self.slots.take(job_id):
            return None
        return asyncio.create_task(self.desk.serve(run_job, {"id": job_id, "input": job_input}))

    async def deliver_and_wait(self, job_id: str, job_input: str = "return") -> None:
        task = self.deliver(job_id, job_input)
        assert task is not None
        await task


async def test_an_answer_too_large_for_the_platform_is_followed_by_a_small_one() -> None:
    office = Office(["too large"])
    await office.deliver_and_wait("a")
    (answer,) = office.platform.answers["a"]
    assert answer["output"]["error_kind"] == "result"
    assert answer["error"]


async def test_a_call_that_outlives_the_drain_is_ended_before_it_is_answered() -> None:
    office = Office()
    task = office.deliver("a", "endless")
    assert task is not None
    await wait_until_async(lambda: office.worker.effects["a"])
    office.drain.calls_must_end.set()
    await task
    (answer,) = office.platform.answers["a"]
    assert (answer["output"]["error_kind"], answer["output"]["stdout"]) == ("worker_lost", "said")
    assert office.worker.ended == ["a"]
    assert office.slots.in_hand == set()


async def test_a_stopped_job_is_not_answered_and_its_slot_is_free_when_its_call_has_ended() -> None:
    office = Office()
    task = office.deliver("a", "endless")
    assert task is not None
    await wait_until_async(lambda: office.worker.effects["a"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert office.worker.ended == ["a"]
    assert office.platform.answers == {}
    assert office.slots.in_hand == set()
    await office.deliver_and_wait("a")
    assert office.platform.answers["a"][0]["output"]["success"]


async def test_a_broken_device_stops_the_taking_before_the_slot_is_free() -> None:
    office = Office()
    await office.deliver_and_wait("a", "refresh")
    assert office.drain.no_more_jobs.is_set()
    assert not office.drain.begun.is_set()
    assert office.platform.answers["a"][0]["stopPod"] is True


async def test_waiting_for_an_end_is_not_cut_short_by_cancellations() -> None:
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(until_done(end))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    end.set_result(None)
    with pytest.raises(asyncio.CancelledError):
        await waiting


FATES = st.lists(st.sampled_from(["taken", "ack lost", "lost", "refused"]), max_size=12)
DELIVERIES = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=16)


@settings(max_examples=300, deadline=None)
@given(FATES, DELIVERIES, st.sets(st.sampled_from("abc")))
async def test_effects_are_at_most_one_and_no_answer_is_lost(
    fates: list[str], deliveries: list[tuple[str, bool]], failing: set[str]
) -> None:
    """Jobs are delivered in any order, again while they run and after they ended, to a platform that loses things."""
    office = Office(fates)
    running: list[asyncio.Task[None]] = []
    retried: Counter[str] = Counter()
    for job_id, waits in deliveries:
        if job_id in failing and job_id in office.platform.acknowledged and job_id not in office.slots.in_hand:
            retried[job_id] += 1  # the platform has the failure: this is somebody's retry
            office.platform.acknowledged.discard(job_id)
        task = office.deliver(job_id, "fail" if job_id in failing else "return")
        running += [task] if task else []
        if waits:
            await asyncio.gather(*running)
    await asyncio.gather(*running)
    delivered = {job_id for job_id, _ in deliveries}
    for job_id in delivered - set(office.platform.acknowledged):  # the platform asks until it has an answer
        while job_id not in office.platform.acknowledged:
            await office.deliver_and_wait(job_id, "fail" if job_id in failing else "return")
    for job_id in delivered:
        assert office.worker.effects[job_id] <= 1 + retried[job_id]
        assert len({json.dumps(answer) for answer in office.platform.answers[job_id]}) == 1
    assert office.slots.in_hand == set()
