"""Whose output the worker's own lines go to."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from flashtrial.process.environment import Environment
from flashtrial.process.output import OutputBuffer
from flashtrial.worker.install.shared_builds import SharedBuilds
from flashtrial.worker.log_streamer import LogStreamer, SharedLines, streaming_to

LAYER = Environment("key")


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("flashtrial.test_log_streamer")
    logger.setLevel(logging.INFO)
    streamer = LogStreamer(logging.INFO)
    logger.addHandler(streamer)
    yield logger
    logger.removeHandler(streamer)


def line(text: str) -> str:
    return f"[flashtrial] INFO {text}\n"


def test_line_goes_to_the_call_it_was_logged_for(log: logging.Logger) -> None:
    first, second = OutputBuffer(), OutputBuffer()
    log.info("nobody's")
    with streaming_to(first):
        log.info("one")
        with streaming_to(second):
            log.info("two")
    assert (first.text(), second.text()) == (line("one"), line("two"))


def test_shared_lines_reach_all_who_follow_and_end_with_the_block(log: logging.Logger) -> None:
    early, late, lines = OutputBuffer(), OutputBuffer(), SharedLines()
    with streaming_to(early), lines.followed():
        with streaming_to(lines):
            log.info("one")
        assert early.text() == line("one")  # live
        with streaming_to(late), lines.followed():
            assert late.text() == line("one")
            with streaming_to(lines):
                log.info("two")
    with streaming_to(lines):
        log.info("three")
    assert early.text() == late.text() == line("one") + line("two")


async def test_every_waiter_of_a_build_sees_its_lines_once_and_its_own_alone(log: logging.Logger) -> None:
    builds, go_on = SharedBuilds(), asyncio.Event()
    outputs = [OutputBuffer() for _ in range(3)]

    async def build() -> Environment:
        log.info("started")
        await go_on.wait()
        await asyncio.to_thread(log.info, "ready")
        return LAYER

    async def wait(number: int) -> Environment:
        with streaming_to(outputs[number]):
            log.info("call %d", number)
            environment = await builds.join("key", build)
            log.info("done %d", number)
            return environment

    waiters = [asyncio.create_task(wait(number)) for number in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiters.append(asyncio.create_task(wait(2)))
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*waiters) == [LAYER] * 3
    for number, output in enumerate(outputs):
        said = [f"call {number}", "started", "ready", f"done {number}"]
        assert output.text() == "".join(map(line, said))


async def test_first_waiter_may_leave_and_the_others_still_see_the_rest(log: logging.Logger) -> None:
    builds, go_on = SharedBuilds(), asyncio.Event()
    outputs = [OutputBuffer(), OutputBuffer()]

    async def build() -> Environment:
        log.info("started")
        await go_on.wait()
        log.info("ready")
        return LAYER

    async def wait(output: OutputBuffer) -> Environment:
        with streaming_to(output):
            return await builds.join("key", build)

    leaver, stayer = (asyncio.create_task(wait(output)) for output in outputs)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])
    go_on.set()
    assert await stayer == LAYER
    assert outputs[0].text() == line("started")
    assert outputs[1].text() == line("started") + line("ready")


async def test_failure_of_a_build_is_that_of_every_waiter_and_the_next_call_builds_again(log: logging.Logger) -> None:
    builds = SharedBuilds()

    async def fail() -> Environment:
        raise ValueError("no such package")

    async def succeed() -> Environment:
        return LAYER

    results = await asyncio.gather(*(builds.join("key", fail) for _ in range(2)), return_exceptions=True)
    assert [str(result) for result in results] == ["no such package"] * 2
    assert await builds.join("key", succeed) == LAYER
