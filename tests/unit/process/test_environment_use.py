"""Which environments are kept ready, and which go."""

import pytest

from flashtrial.process.environment_use import EnvironmentUse, KeepLimits
from flashtrial.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def nobody(_key: str) -> bool:
    return False


def used(uses: EnvironmentUse, *keys: str, clock: FakeClock) -> None:
    """Each key used once, a second apart."""
    for key in keys:
        uses.begin(key)
        uses.end(key)
        clock.advance(1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_was_not_used_for_the_idle_time_goes_and_is_known_no_more(clock: FakeClock) -> None:
    uses = EnvironmentUse(KeepLimits(idle_s=10, max_idle=None), clock.monotonic)
    used(uses, "old", "new", clock=clock)
    assert uses.next_look_s() == 8
    clock.advance(7.5)
    assert uses.taken_out(nobody) == []
    clock.advance(0.5)
    assert uses.taken_out(nobody) == ["old"]
    assert (uses.is_known("old"), uses.is_known("new")) == (False, True)
    assert uses.next_look_s() == 1


def test_one_too_many_goes_least_recently_used_first(clock: FakeClock) -> None:
    uses = EnvironmentUse(KeepLimits(idle_s=None, max_idle=2), clock.monotonic)
    used(uses, "a", "b", "c", "a", clock=clock)
    assert uses.taken_out(nobody) == ["b"]
    assert uses.next_look_s() is None


def test_who_is_used_is_not_counted_and_never_goes(clock: FakeClock) -> None:
    uses = EnvironmentUse(KeepLimits(idle_s=1, max_idle=0), clock.monotonic)
    uses.begin("a")
    uses.begin("a")
    uses.end("a")
    clock.advance(100)
    assert uses.taken_out(nobody) == []
    assert uses.next_look_s() is None
    uses.end("a")
    assert uses.taken_out(nobody) == ["a"]


def test_an_instance_that_lives_is_a_use_and_the_idle_time_begins_with_its_end(clock: FakeClock) -> None:
    uses = EnvironmentUse(KeepLimits(idle_s=10, max_idle=0), clock.monotonic)
    used(uses, "a", clock=clock)
    clock.advance(100)
    assert uses.taken_out(lambda key: key == "a") == []
    assert uses.next_look_s() == 10
    assert uses.taken_out(nobody) == ["a"]
