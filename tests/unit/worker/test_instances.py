"""Which instances are let go to keep the bounds."""

import asyncio
from datetime import UTC, datetime

import pytest

from flashtrial.process.channel import Channel, socket_pair
from flashtrial.process.child import Child
from flashtrial.testing.clock import FakeClock
from flashtrial.worker.instances import AllBusy, Instance, InstanceLimits, Instances


class NoProcess:
    """A process that never was; the table asks only for its pid."""

    pid = 0
    pidfd = None
    is_doomed = False

    def signal_leader(self, number: object) -> None: ...

    def signal_group(self, number: object) -> None: ...

    async def exit_code(self) -> int | None:
        return None

    def close(self) -> None: ...


class Table:
    """Instances on a clock that the test moves."""

    def __init__(self, limits: InstanceLimits) -> None:
        self.clock = FakeClock()
        self.instances = Instances(limits, self.clock.monotonic)

    def hold(self, name: str) -> Instance:
        ours, theirs = socket_pair()
        theirs.close()
        ours.close()
        child = Child(NoProcess(), Channel(ours), holds_instance=True)
        now = datetime.now(UTC)
        instance = Instance(name, child, "C", now, now, self.clock.monotonic())
        self.instances.hold(instance)
        self.clock.advance(1.0)
        return instance


def test_the_least_recently_used_idle_instance_makes_room() -> None:
    table = Table(InstanceLimits(max_count=2, idle_s=None))
    first, second = table.hold("first"), table.hold("second")
    table.instances.touch(first)
    assert [instance for instance, _ in table.instances.room_for_one_more()] == [second]
    assert table.instances.get("second") is None
    assert "to make room" in (table.instances.why_lost("second") or "")


def test_a_busy_instance_never_makes_room() -> None:
    table = Table(InstanceLimits(max_count=2, idle_s=None))
    first, second = table.hold("first"), table.hold("second")
    first.users = 1
    assert [instance for instance, _ in table.instances.room_for_one_more()] == [second]


def test_when_all_are_busy_nobody_goes_and_it_is_said() -> None:
    table = Table(InstanceLimits(max_count=2, idle_s=None))
    for name in ("first", "second"):
        table.hold(name).users = 1
    with pytest.raises(AllBusy, match="2 instances"):
        table.instances.room_for_one_more()
    assert table.instances.get("first") is not None


def test_what_was_not_used_for_the_idle_time_goes() -> None:
    table = Table(InstanceLimits(idle_s=10.0))
    old, used = table.hold("old"), table.hold("used")
    table.clock.advance(7.0)
    table.instances.touch(used)
    assert table.instances.next_look_s() == pytest.approx(1.0)
    table.clock.advance(1.0)
    assert [instance for instance, _ in table.instances.too_long_idle()] == [old]
    assert table.instances.get("used") is used


def test_an_instance_that_never_came_to_be_is_not_remembered_as_lost() -> None:
    table = Table(InstanceLimits())
    instance = table.hold("never")
    table.instances.lose(instance, None)
    assert table.instances.get("never") is None
    assert table.instances.why_lost("never") is None


def test_without_limits_nobody_ever_goes() -> None:
    table = Table(InstanceLimits(max_count=None, idle_s=None, memory_bytes=None))
    for number in range(100):
        table.hold(str(number))
    table.clock.advance(1e9)
    assert table.instances.room_for_one_more() == []
    assert table.instances.too_long_idle() == []
    assert table.instances.next_look_s() is None


def test_a_new_loop_gets_locks_of_its_own() -> None:
    table = Table(InstanceLimits())
    instance = table.hold("one")
    before = instance.turn
    table.instances.new_turns()
    assert instance.turn is not before
    assert isinstance(instance.turn, asyncio.Lock)
