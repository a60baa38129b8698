"""A call whose source and modules are more than a socket holds, for a child that does not read: the worker goes on."""

import asyncio
import signal

import pytest

from flashtrial.process.child import CallLimits, Child
from flashtrial.process.environment import BASE
from flashtrial.process.outcome import Outcome, Returned, TimedOut
from flashtrial.process.output import OutputBuffer
from flashtrial.process.supervisor import Supervisor
from testkit.calls import FINE, json_call, result_of, works
from testkit.waiting import wait_until_async

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]

LARGE = FINE + "#" * 4_000_000 + "\n"
LIMITS = CallLimits(timeout_s=2.0)


async def stopped(supervisor: Supervisor) -> Child:
    """An idle child, the caller's, that reads nothing until it is told to go on."""
    assert await works(supervisor)
    child = await supervisor.warm_child(BASE)
    assert child is not None
    child.process.signal_leader(signal.SIGSTOP)
    return child


async def begun(child: Child) -> "asyncio.Task[Outcome]":
    call = asyncio.create_task(child.call(json_call(LARGE), OutputBuffer()))
    await wait_until_async(lambda: not child.is_idle, 10, "the call to begin")
    return call


async def test_it_is_ended_in_time_and_others_are_served_meanwhile(forking: Supervisor) -> None:
    child = await stopped(forking)
    await forking.give_back(BASE, child)
    slow = asyncio.create_task(forking.run_function(BASE, json_call(LARGE), OutputBuffer(), LIMITS))
    await wait_until_async(lambda: not child.is_idle, 10, "the call to begin")
    assert await works(forking)
    assert not slow.done()
    assert isinstance(await slow, TimedOut)


async def test_it_is_run_once_the_child_reads(forking: Supervisor) -> None:
    child = await stopped(forking)
    call = await begun(child)
    has_taken = [child.has_taken_call]
    child.process.signal_leader(signal.SIGCONT)
    outcome = await call
    assert isinstance(outcome, Returned)
    assert [*has_taken, child.has_taken_call] == [False, True]
    await forking.give_back(BASE, child)


async def test_another_runs_it_when_the_child_dies_before_it_heard_it_all(forking: Supervisor) -> None:
    child = await stopped(forking)
    await forking.give_back(BASE, child)
    call = asyncio.create_task(forking.run_function(BASE, json_call(LARGE), OutputBuffer()))
    await wait_until_async(lambda: not child.is_idle, 10, "the call to begin")
    child.process.signal_leader(signal.SIGKILL)
    assert isinstance(await call, Returned)


async def test_large_sources_reach_children_whole(supervisor: Supervisor) -> None:
    for _ in range(3):
        outcome = await result_of(supervisor, LARGE)
        assert isinstance(outcome, Returned), outcome
