"""How many jobs a worker has in hand."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from flashtrial.worker.loop.job_slots import JobSlots


async def is_free(slots: JobSlots) -> bool:
    try:
        async with asyncio.timeout(0):
            await slots.free()
    except TimeoutError:
        return False
    return True


async def test_a_slot_is_free_again_when_the_call_has_ended_though_its_answer_is_on_its_way() -> None:
    slots = JobSlots(1)
    assert slots.take("a")
    assert not await is_free(slots)
    slots.call_ended("a")
    assert await is_free(slots)
    assert slots.in_hand == {"a"}


async def test_answers_that_do_not_get_through_stop_the_taking() -> None:
    slots = JobSlots(1)
    for job_id in ("a", "b"):
        slots.take(job_id)
        slots.call_ended(job_id)
    assert not await is_free(slots)
    slots.give_back("a")
    assert await is_free(slots)


def test_a_job_that_is_in_hand_is_not_taken_again() -> None:
    slots = JobSlots(3)
    assert slots.take("a")
    assert not slots.take("a")
    slots.call_ended("a")
    assert not slots.take("a")
    slots.give_back("a")
    assert slots.take("a")


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["take", "ended", "back"]), st.sampled_from("abcdefgh"))))
def test_no_slot_leaks_whatever_happens_in_whatever_order(count: int, moves: Sequence[tuple[str, str]]) -> None:
    async def play() -> None:
        slots = JobSlots(count)
        running: set[str] = set()
        in_hand: set[str] = set()
        for move, job_id in moves:
            if move == "take" and await is_free(slots):
                assert slots.take(job_id) == (job_id not in in_hand)
                if job_id not in in_hand:
                    running.add(job_id)
                in_hand.add(job_id)
            elif move == "ended":
                slots.call_ended(job_id)
                running.discard(job_id)
            elif move == "back":
                slots.give_back(job_id)
                running.discard(job_id)
                in_hand.discard(job_id)
            assert slots.in_hand == in_hand
            assert len(running) <= count
            assert len(in_hand) <= 2 * count
            assert await is_free(slots) == (len(running) < count and len(in_hand) < 2 * count)

    asyncio.run(play())
