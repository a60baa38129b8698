"""How a process ended is told although its template has much to do at that moment."""

import asyncio

import pytest

from flashtrial.process.outcome import Died
from flashtrial.process.supervisor import Supervisor
from testkit.calls import result_of

pytestmark = pytest.mark.integration


async def test_many_that_exit_at_once_are_each_told_with_their_code(forking: Supervisor) -> None:
    source = "import os\ndef f(code):\n    os._exit(code)\n"
    codes = list(range(1, 25))
    outcomes = await asyncio.gather(*(result_of(forking, source, code) for code in codes))
    assert outcomes == [Died(code) for code in codes]
