"""A child that cannot hear any more costs the call that it did not get nothing."""

import os
import signal

import pytest

from flashtrial.process.environment import BASE
from flashtrial.process.outcome import Died, Returned
from flashtrial.process.supervisor import Supervisor
from testkit.calls import is_alive, result_of, works
from testkit.waiting import wait_until_async

pytestmark = pytest.mark.integration

SHUTS = """
import os, socket
def f(how):
    for number in range(3, 64):
        try:
            endpoint = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        if endpoint.family == socket.AF_UNIX:
            endpoint.shutdown(getattr(socket, how))
    return os.getpid()
"""
PID = "import os\ndef f():\n    return os.getpid()\n"


async def test_a_child_that_shut_its_ear_is_replaced_and_the_next_call_never_knows(forking: Supervisor) -> None:
    for _ in range(10):
        deaf = await result_of(forking, SHUTS, "SHUT_RD")
        assert isinstance(deaf, Returned), deaf
        following = await result_of(forking, PID)
        assert isinstance(following, Returned), following
        assert following.value != deaf.value


@pytest.mark.parametrize("how", ["SHUT_WR", "SHUT_RDWR"])
async def test_a_child_that_shut_its_mouth_loses_its_own_call_only(forking: Supervisor, how: str) -> None:
    for _ in range(5):
        assert isinstance(await result_of(forking, SHUTS, how), Died)
        assert await works(forking)


async def test_children_that_were_killed_between_calls_cost_the_next_call_nothing(forking: Supervisor) -> None:
    for _ in range(10):
        outcome = await result_of(forking, PID)
        assert isinstance(outcome, Returned)
        os.kill(int(outcome.value), signal.SIGKILL)
        await wait_until_async(lambda pid=int(outcome.value): not is_alive(pid), 5, "the child to be gone")  # type: ignore[misc]
        assert await works(forking)
    assert len(forking._idle[BASE.key]) == 1
