"""When a worker is to leave."""

import asyncio
import math

from flashtrial.worker.loop.drain import Drain


async def test_before_it_begins_there_is_no_end() -> None:
    drain = Drain(20.0)
    assert drain.left_s() == math.inf
    assert 4.0 < drain.left_s(asyncio.get_running_loop().time() + 5.0) <= 5.0
    assert not drain.no_more_jobs.is_set()


async def test_it_begins_once_and_its_end_stays() -> None:
    drain = Drain(20.0)
    drain.begin()
    end = asyncio.get_running_loop().time() + drain.left_s()
    drain.begin()
    assert abs(asyncio.get_running_loop().time() + drain.left_s() - end) < 1e-3
    assert drain.no_more_jobs.is_set()
    assert not drain.calls_must_end.is_set()


async def test_calls_must_end_before_the_process_must() -> None:
    drain = Drain(0.06)
    drain.begin()
    await asyncio.wait_for(drain.calls_must_end.wait(), 10)
    assert drain.left_s() < 0.06


async def test_a_worker_that_only_takes_no_more_has_all_the_time_it_needs() -> None:
    drain = Drain(20.0)
    drain.take_no_more()
    assert drain.no_more_jobs.is_set()
    assert drain.left_s() == math.inf


async def test_who_sleeps_is_woken_when_it_begins() -> None:
    drain = Drain(20.0)
    sleeping = asyncio.create_task(drain.sleep(3600))
    asyncio.get_running_loop().call_soon(drain.begin)
    await asyncio.wait_for(sleeping, 10)
    await asyncio.wait_for(drain.sleep(0.001), 10)
