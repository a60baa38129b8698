"""Waiting for a GPU: in turn, without holding up the loop, and without a seat left behind."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from flashtrial.core.clock import SystemClock
from flashtrial.core.gpu.driver import Gpu, GpuHealth, GpuMemory, GpuReading
from flashtrial.process.channel import Channel, socket_pair
from flashtrial.process.child import Child
from flashtrial.testing.recorded_gpus import RecordedGpus
from flashtrial.worker.gpu.placement import MIB, Rules
from flashtrial.worker.gpu.policy import NoSeat, Placement
from flashtrial.worker.gpu.seats import GpuSeats, Seat
from flashtrial.worker.gpu.tenancy import Tenancy
from testkit.waiting import wait_until_async

pytestmark = pytest.mark.unit

GPUS = (Gpu(0, "GPU-a", "H100", 0), Gpu(1, "GPU-b", "H100", 1))
THIRD = Gpu(2, "GPU-c", "H100", 2)
TOTAL = 10_000 * MIB
NEVER_S = 600.0


def moment(*used_mib: int, is_lost: bool = False) -> list[GpuReading]:
    """GPUs of 10,000 MiB each."""
    return [
        GpuReading(gpu, GpuMemory(10_000 * MIB, (10_000 - used) * MIB), processes=(), health=GpuHealth(is_lost=is_lost))
        for gpu, used in zip(GPUS, used_mib, strict=False)
    ]


class NoProcess:
    """A process that never was."""

    pid = 2**22 + 1  # above any that Linux gives out
    pidfd = None
    is_doomed = False

    def signal_leader(self, number: object) -> None: ...

    def signal_group(self, number: object) -> None: ...

    async def exit_code(self) -> int | None:
        return None

    def close(self) -> None: ...


class SlowGpus(RecordedGpus):
    """A driver that answers when it is let."""

    def __init__(self, *moments: list[GpuReading]) -> None:
        super().__init__(*moments)
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def read(self, gpu: Gpu) -> GpuReading:
        self.asked.set()
        assert self.may_answer.wait(20)
        return super().read(gpu)


class Room:
    """Seats under test, and what a tenancy that nobody uses any more says of them."""

    def __init__(self, driver: RecordedGpus, placement: Placement, recheck_s: float) -> None:
        self.tenancy = Tenancy(driver, None, Rules(placement), SystemClock())
        self.seats = GpuSeats(self.tenancy, recheck_s=recheck_s)

    def sitting(self) -> list[str]:
        """Ends the thread, so that all it was asked to do is done."""
        self.seats.close()
        return [tenant.instance_id for tenant in self.tenancy.tenants()]


MakeRoom = Callable[..., Room]


@pytest.fixture
async def room() -> AsyncIterator[MakeRoom]:
    made: list[Room] = []

    def make(driver: RecordedGpus, placement: Placement = Placement.EXCLUSIVE, *, recheck_s: float = NEVER_S) -> Room:
        made.append(Room(driver, placement, recheck_s))
        return made[-1]

    yield make
    for one in made:
        one.seats.close()


def a_child() -> Child:
    ours, theirs = socket_pair()
    theirs.close()
    ours.close()
    return Child(NoProcess(), Channel(ours), holds_instance=True)


def sit(seat: Seat, leave: Callable[[], Awaitable[bool]] | None = None) -> Child:
    async def refuse() -> bool:
        return False

    child = a_child()
    seat.occupied(child, leave or refuse)
    return child


async def is_waiting(room: Room, many: int = 1) -> None:
    await wait_until_async(lambda: len(room.seats._waiters) == many)


async def test_each_exclusive_seat_is_a_gpu_of_its_own(room: MakeRoom) -> None:
    seats = room(RecordedGpus(moment(0, 0))).seats
    first, second = await seats.take("first", "Model"), await seats.take("second", "Model")
    assert [seat.variables for seat in (first, second)] == [
        {"CUDA_VISIBLE_DEVICES": "GPU-a"},
        {"CUDA_VISIBLE_DEVICES": "GPU-b"},
    ]


async def test_who_comes_first_is_served_first_when_a_seat_is_left(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0)))
    first = await one.seats.take("first", "Model")
    order: list[str] = []

    async def want(name: str) -> Seat:
        seat = await one.seats.take(name, "Model")
        order.append(name)
        return seat

    waiting = [asyncio.create_task(want(name)) for name in ("second", "third")]
    await is_waiting(one, 2)
    first.left()
    (await waiting[0]).left()
    await waiting[1]
    assert order == ["second", "third"]


async def test_who_gives_up_waiting_holds_up_nobody_and_leaves_no_seat(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0)))
    first = await one.seats.take("first", "Model")
    given_up = asyncio.create_task(one.seats.take("second", "Model"))
    third = asyncio.create_task(one.seats.take("third", "Model"))
    await is_waiting(one, 2)
    given_up.cancel()
    first.left()
    seat = await third
    assert one.sitting() == [seat.seat_id]


async def test_who_gives_up_while_the_driver_is_asked_leaves_no_seat(room: MakeRoom) -> None:
    driver = SlowGpus(moment(0))
    one = room(driver)
    taking = asyncio.create_task(one.seats.take("first", "Model"))
    await asyncio.to_thread(driver.asked.wait, 20)  # the loop goes on meanwhile
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    driver.may_answer.set()
    assert one.sitting() == []


async def test_two_who_ask_at_once_are_not_given_the_same_gpu(room: MakeRoom) -> None:
    seats = room(RecordedGpus(moment(0, 0))).seats
    taken = await asyncio.gather(*(seats.take(name, "Model") for name in "ab"))
    assert {seat.variables["CUDA_VISIBLE_DEVICES"] for seat in taken} == {"GPU-a", "GPU-b"}


async def test_two_who_ask_at_once_do_not_evict_for_more_than_two(room: MakeRoom) -> None:
    one = room(RecordedGpus([*moment(0, 0), GpuReading(THIRD, GpuMemory(TOTAL, TOTAL))]))
    (*taken,) = [await one.seats.take(name, "Model") for name in "abc"]
    for seat in taken:

        async def leave(seat: Seat = seat) -> bool:
            seat.left()
            return True

        sit(seat, leave)
        await seat.call_ended()
    for seat in taken[:2]:
        seat.left()
    await asyncio.gather(*(one.seats.take(name, "Model") for name in "de"))
    assert taken[2].seat_id in one.sitting()


async def test_a_seat_that_was_just_taken_is_not_evicted_before_its_first_call(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0)))
    asked: list[bool] = []

    async def leave() -> bool:
        asked.append(True)
        return False

    sit(await one.seats.take("loading", "Model"), leave)
    second = asyncio.create_task(one.seats.take("second", "Model"))
    await is_waiting(one)
    second.cancel()
    assert asked == []


async def test_an_idle_child_is_asked_to_leave(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0)))
    first = await one.seats.take("first", "Model")

    async def leave() -> bool:
        first.left()
        return True

    sit(first, leave)
    await first.call_ended()
    second = await one.seats.take("second", "Model")
    assert one.sitting() == [second.seat_id]


async def test_one_that_refuses_to_leave_is_asked_again_only_when_something_changed(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0)))
    first = await one.seats.take("first", "Model")
    answers = iter([False, True])

    async def leave() -> bool:
        if gone := next(answers):
            first.left()
        return gone

    sit(first, leave)
    await first.call_ended()
    second = asyncio.create_task(one.seats.take("second", "Model"))
    await is_waiting(one)
    first.freed()
    assert (await second).variables == first.variables
    assert next(answers, None) is None


async def test_what_can_be_made_again_is_evicted_before_what_cannot(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0, 0)))
    left: list[str] = []
    instance = await one.seats.take("instance", "Model")
    function = await one.seats.take("function", "functions", is_expendable=True)
    for seat in (instance, function):

        async def leave(seat: Seat = seat) -> bool:
            left.append(seat.seat_id)
            seat.left()
            return True

        sit(seat, leave)
        await seat.call_ended()
    await one.seats.take("newcomer", "Model")
    assert left == [function.seat_id]


async def test_a_seat_whose_child_can_serve_is_used_again_without_asking_the_driver(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0)))
    warm = await one.seats.take("f", "functions", is_expendable=True)
    child = sit(warm)
    await warm.call_ended()

    async def reuse() -> Seat | None:
        return one.seats.seat_of(child)

    assert await one.seats.take("f", "functions", reuse=reuse) is warm


async def test_a_child_that_is_used_again_is_not_chosen_to_make_room(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0, 0)))
    warm, instance = await one.seats.take("f", "functions", is_expendable=True), await one.seats.take("i", "Model")

    async def leave() -> bool:
        instance.left()
        return True

    async def reuse() -> Seat | None:
        return warm

    for seat in (warm, instance):
        sit(seat, leave if seat is instance else None)
        await seat.call_ended()
    await one.seats.take("f", "functions", reuse=reuse)
    assert (await one.seats.take("newcomer", "Model")).variables == instance.variables


async def test_nobody_is_overtaken_by_a_warm_child(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0)))
    await one.seats.take("busy", "Model")
    first = asyncio.create_task(one.seats.take("first", "Model"))
    await is_waiting(one)
    asked: list[bool] = []

    async def reuse() -> Seat | None:
        asked.append(True)
        return None

    second = asyncio.create_task(one.seats.take("second", "functions", reuse=reuse))
    await is_waiting(one, 2)
    assert asked == []
    first.cancel()
    await wait_until_async(lambda: asked)
    second.cancel()


async def test_memory_that_others_gave_back_is_noticed_without_being_told(room: MakeRoom) -> None:
    driver = RecordedGpus(moment(9_900), moment(0))
    one = room(driver, Placement.SHARED, recheck_s=0.01)
    waiting = asyncio.create_task(one.seats.take("first", "Model"))
    await is_waiting(one)
    assert not waiting.done()
    driver.advance()
    assert (await waiting).variables == {"CUDA_VISIBLE_DEVICES": "GPU-a"}


async def test_waiting_in_vain_is_refused_with_the_reason(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0, is_lost=True)))
    with pytest.raises(NoSeat, match="broken") as refused:
        await one.seats.take("first", "Model")
    assert refused.value.needs_new_worker
    assert one.sitting() == []


async def test_seats_serve_one_loop_after_the_other() -> None:
    def in_a_loop_of_its_own(room: Room) -> str:
        async def take_and_leave() -> str:
            seat = await room.seats.take("first", "Model")
            seat.left()
            return seat.variables["CUDA_VISIBLE_DEVICES"]

        return asyncio.run(take_and_leave())

    one = Room(RecordedGpus(moment(0)), Placement.EXCLUSIVE, NEVER_S)
    names = [await asyncio.to_thread(in_a_loop_of_its_own, one) for _ in range(3)]
    assert names == ["GPU-a"] * 3
    assert one.sitting() == []


async def test_a_closed_room_takes_leave_of_nobody_and_seats_nobody(room: MakeRoom) -> None:
    one = room(RecordedGpus(moment(0)))
    seat = await one.seats.take("first", "Model")
    one.seats.close()
    one.seats.close()
    seat.left()
    assert await seat.call_ended() is None
    with pytest.raises(NoSeat, match="ends"):
        await one.seats.take("second", "Model")
