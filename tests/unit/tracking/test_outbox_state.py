"""What the threads of one sync process know together."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flashtrial.testing.clock import FakeClock
from flashtrial.tracking.sending.outbox_state import OutboxState


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(2) as pool:
        yield pool
    sys.setswitchinterval(before)


def test_a_farewell_that_comes_while_a_journal_is_forgotten_is_remembered(
    outbox: Path, threads: ThreadPoolExecutor
) -> None:
    state = OutboxState(outbox, FakeClock())
    early, late = ([f"wr_{when}_{number}" for number in range(3000)] for when in ("early", "late"))

    def say_farewells(writers: list[str]) -> None:
        for writer_id in writers:
            state.say_farewell(writer_id, "native")

    state.listens("native", wants=True)
    say_farewells(["wr_gone", *early])
    told = threads.submit(say_farewells, late)
    while not told.done():
        state.forget("wr_gone")
    told.result()
    state.forget("wr_gone")
    assert not any(state.awaits_farewell(writer_id, "native") for writer_id in early + late)
    assert state.awaits_farewell("wr_gone", "native")
