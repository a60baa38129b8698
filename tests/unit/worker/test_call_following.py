"""What is told of a call while it runs, to a platform that answers as the test says."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from flashtrial.worker.loop.call_following import LARGEST_CHUNK_BYTES, following
from flashtrial.worker.loop.job_reporter import Delivery
from testkit.waiting import wait_until_async


class Platform:
    """Notes what it is told, in order; `refuses` names the chunks that it does not take."""

    def __init__(self, refuses: Sequence[Any] = ()) -> None:
        self.progress_said: list[dict[str, Any]] = []
        self.chunks: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._refuses = refuses

    async def progress(self, _job_id: str, output: dict[str, Any], /) -> Delivery:
        await self.gate.wait()
        self.progress_said.append(output)
        return Delivery.TAKEN

    async def chunk(self, _job_id: str, body: bytes, /) -> Delivery:
        await self.gate.wait()
        value = json.loads(body)["output"]
        if value in self._refuses:
            return Delivery.REFUSED
        self.chunks.append(value)
        return Delivery.TAKEN


async def test_news_is_told_and_silence_is_not() -> None:
    platform = Platform()
    async with following(platform, "job", every_s=0.001) as live:
        live.output(b"a")
        await wait_until_async(lambda: platform.progress_said)
        live.output(b"b")
        await wait_until_async(lambda: len(platform.progress_said) == 2)
    assert platform.progress_said == [{"stdout": "a", "stdout_bytes": 1}, {"stdout": "ab", "stdout_bytes": 2}]


async def test_a_short_call_is_not_told_of() -> None:
    platform = Platform()
    async with following(platform, "job", every_s=3600) as live:
        live.output(b"a")
    assert platform.progress_said == []


async def test_all_values_have_been_posted_in_order_when_the_call_is_left() -> None:
    platform = Platform()
    async with following(platform, "job") as live:
        for number in range(500):
            live.yielded(str(number).encode())
    assert platform.chunks == list(range(500))


async def test_no_report_is_on_its_way_when_the_call_is_left() -> None:
    platform = Platform()
    platform.gate.clear()
    left = asyncio.Event()

    async def call() -> None:
        async with following(platform, "job", every_s=0.001) as live:
            live.output(b"a")
            live.yielded(b"1")
            await asyncio.sleep(0.01)  # until both reports are under way
        left.set()

    running = asyncio.create_task(call())
    asyncio.get_running_loop().call_later(0.05, platform.gate.set)
    await asyncio.wait_for(left.wait(), 10)
    assert len(platform.progress_said) == len(platform.chunks) == 1
    await running


@pytest.mark.parametrize("refuses", [[3], [0]])
async def test_a_stream_that_the_platform_does_not_take_ends_there(refuses: list[int]) -> None:
    platform = Platform(refuses)
    async with following(platform, "job") as live:
        for number in range(10):
            live.yielded(str(number).encode())
    assert platform.chunks == list(range(refuses[0]))


async def test_a_value_too_large_for_a_chunk_is_left_out() -> None:
    platform = Platform()
    async with following(platform, "job") as live:
        live.yielded(b"1")
        live.yielded(b'"' + b"x" * LARGEST_CHUNK_BYTES + b'"')
        live.yielded(b"2")
    assert platform.chunks == [1, 2]


async def test_when_the_call_is_cancelled_nothing_more_is_posted() -> None:
    platform = Platform()
    platform.gate.clear()

    async def call() -> None:
        async with following(platform, "job", every_s=0.001) as live:
            live.yielded(b"1")
            live.output(b"a")
            await asyncio.sleep(3600)

    running = asyncio.create_task(call())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    platform.gate.set()
    await asyncio.sleep(0)
    assert platform.chunks == platform.progress_said == []
