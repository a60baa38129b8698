"""Seats on GPUs for children that are about to start: who has to wait holds up neither the loop nor the others.

::

    take ─▶ queue ─ask─▶ Admit ─▶ Seat ─▶ occupied ─▶ call_began ─▶ call_ended ─▶ … ─▶ left
              ▲           Evict ─▶ the occupants named leave ─┐
              └── again, when something changed ◀── Wait ─────┘

The tenancy and its driver are used by one thread, which is made here, in the order in which it was asked to. All else
belongs to the event loop. A worker whose placement is unmanaged makes nothing of this module.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

from flashtrial.core.clock import Clock
from flashtrial.core.gpu.driver import Gpu, NoGpus
from flashtrial.core.gpu.nvml import open_nvml
from flashtrial.core.gpu.visible import VARIABLE, visible_variable
from flashtrial.process.child import Child
from flashtrial.worker.gpu.families import family_of
from flashtrial.worker.gpu.placement import Admit, Decision, Evict, Rules, Wait
from flashtrial.worker.gpu.policy import NoSeat, Placement
from flashtrial.worker.gpu.tenancy import Tenancy, Wish

RECHECK_S: Final = 2.0
"""Who waits asks again after so many seconds even when nothing changed here: others may use the GPU, too."""

Leave = Callable[[], Awaitable[bool]]
"""Ends a child that is idle, and tells whether it did."""

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


def open_seats(placement: Placement, restriction: str | None, clock: Clock) -> "GpuSeats | None":
    """The seats on this machine's GPUs, the caller's to close; None where there is no GPU, which is said.

    `restriction` is the worker's own CUDA_VISIBLE_DEVICES, None when it is unset.
    """
    driver = open_nvml()
    tenancy = Tenancy(driver, restriction, Rules(placement), clock)
    if tenancy.gpus:
        return GpuSeats(tenancy)
    reason = driver.reason if isinstance(driver, NoGpus) else f"{VARIABLE}={restriction} leaves none"
    logger.warning("no GPU to place calls on (%s): %s", placement, reason, extra={"action": "no_gpus"})
    tenancy.close()
    return None


@dataclass(frozen=True, slots=True)
class _Occupant:
    child: Child
    leave: Leave


class Seat:
    """The right of one child to its GPU, from before its launch until `left`. `variables` go into its environment."""

    def __init__(self, seats: "GpuSeats", wish: Wish, gpu: Gpu | None) -> None:
        self.seat_id: Final = wish.instance_id
        self.variables: Final[Mapping[str, str]] = visible_variable(gpu)
        self.occupant: _Occupant | None = None
        self._seats = seats

    @property
    def child(self) -> Child | None:
        """Who sits here, once it was launched."""
        return self.occupant.child if self.occupant is not None else None

    def occupied(self, child: Child, leave: Leave) -> None:
        """`child` was launched for this seat. `leave` is called when others need it, and may refuse."""
        self.occupant = _Occupant(child, leave)
        self._seats.occupied(self)

    def call_began(self) -> None:
        """Not to be evicted now. A seat that was just taken is so already."""
        self._seats.call_began(self.seat_id)

    async def call_ended(self) -> int | None:
        """The call is over and the child lives: it is measured. Its bytes on the GPU; None when nobody can tell.

        Takes milliseconds. What has to be noted is noted even if the caller is cancelled. `freed` comes next.
        """
        return await self._seats.call_ended(self.seat_id)

    def freed(self) -> None:
        """The child is where it can be used again or evicted: those who wait ask again."""
        self._seats.changed()

    def left(self) -> None:
        """The child is gone, or was never made. Safe to call twice."""
        self._seats.left(self.seat_id)


class GpuSeats:
    """Owns the queue of those who want a seat, and the thread; `close` ends it, and the tenancy with it.

    Serves one event loop at a time. Whoever waits when its loop ends is gone with it.
    """

    def __init__(self, tenancy: Tenancy, *, recheck_s: float = RECHECK_S) -> None:
        self._tenancy = tenancy
        self._recheck_s = recheck_s
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "gpu-seats")
        self._numbers = itertools.count(1)
        self._queue: list[Wish] = []
        self._occupied: dict[str, Seat] = {}
        self._changes = 0
        self._waiters: set[asyncio.Future[None]] = set()

    async def take(
        self,
        name: str,
        kind: str,
        *,
        is_expendable: bool = False,
        reuse: Callable[[], Awaitable[Seat | None]] | None = None,
    ) -> Seat:
        """A seat for a child to be launched, when its turn has come. First come, first served.

        `name` is for people; children of one `kind` use alike; an expendable one is evicted before all others. `reuse`
        is asked first for a seat whose child can serve as well, and nobody who waits is overtaken by that either.
        Idle children are ended where that makes room. Raises `NoSeat` when waiting would be in vain.
        """
        wish = Wish(f"{name}#{next(self._numbers)}", kind, is_expendable)
        self._queue.append(wish)
        try:
            return await self._served(wish, reuse)
        except BaseException:
            self.left(wish.instance_id)  # the thread may have given it a seat meanwhile
            raise
        finally:
            self._queue.remove(wish)
            self.changed()

    def seat_of(self, child: Child) -> Seat | None:
        """Where `child` sits."""
        return next((seat for seat in self._occupied.values() if seat.child is child), None)

    def changed(self) -> None:
        """Those who wait ask again."""
        self._changes += 1
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def occupied(self, seat: Seat) -> None:
        """See `Seat.occupied`."""
        self._occupied[seat.seat_id] = seat

    def call_began(self, seat_id: str) -> None:
        """See `Seat.call_began`."""
        self._in_thread(self._tenancy.call_began, seat_id)

    async def call_ended(self, seat_id: str) -> int | None:
        """See `Seat.call_ended`."""
        leaders = {name: seat.child.process.pid for name, seat in self._occupied.items() if seat.child is not None}
        noted = self._in_thread(self._note_end, seat_id, leaders)
        return None if noted is None else await asyncio.shield(noted)

    def left(self, seat_id: str) -> None:
        """See `Seat.left`."""
        self._occupied.pop(seat_id, None)
        if (noted := self._in_thread(self._tenancy.left, seat_id)) is not None:
            noted.add_done_callback(lambda _: self.changed())

    def close(self) -> None:
        """End the thread, when it has done what it was asked to, and close the driver. Safe to call twice."""
        if self._thread is not None:
            self._thread.submit(self._tenancy.close)
            self._thread.shutdown()
            self._thread = None

    async def _served(self, wish: Wish, reuse: Callable[[], Awaitable[Seat | None]] | None) -> Seat:
        told = ""
        while True:
            seen = self._changes  # before asking, so that no change is missed
            if reuse is not None and self._queue[0] is wish and (seat := await reuse()):
                seat.call_began()
                return seat
            match await self._decision(wish):
                case Admit(gpu=gpu):
                    return Seat(self, wish, gpu)
                case Wait(is_hopeless=True) as wait:
                    raise NoSeat(wait.reason, needs_new_worker=wait.needs_new_worker)
                case Evict(instance_ids=seat_ids) if await self._evict(seat_ids):
                    continue
                case Wait(reason=reason) if reason != told:
                    told = reason
                    logger.info("%s waits for a GPU: %s", wish.instance_id, reason, extra={"action": "gpu_wait"})
            await self._change_since(seen)

    async def _decision(self, wish: Wish) -> Decision:
        in_turn = tuple(self._queue[: self._queue.index(wish) + 1])
        decided = self._in_thread(self._decide, in_turn)
        return Wait("the worker ends", is_hopeless=True) if decided is None else await asyncio.shield(decided)

    async def _evict(self, seat_ids: Sequence[str]) -> bool:
        """Whether any of them left. One that was given a call meanwhile does not."""
        leaving = [seat.occupant for seat_id in seat_ids if (seat := self._occupied.get(seat_id))]
        return any([await occupant.leave() for occupant in leaving if occupant is not None])

    async def _change_since(self, seen: int) -> None:
        if self._changes != seen:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._recheck_s):
                    await waiter
        finally:
            self._waiters.discard(waiter)

    def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T] | None:
        """What `work` will return; it is done even if nobody waits for it. None after `close`."""
        if self._thread is None:
            return None
        return asyncio.wrap_future(self._thread.submit(work, *args, **kwargs))

    # what the thread does

    def _decide(self, in_turn: Sequence[Wish]) -> Decision:
        """A decision for the last one; if it is admitted, it sits there at once, and nobody can be given the same."""
        sitting = {tenant.instance_id for tenant in self._tenancy.tenants()}  # and not told so yet, if in the queue
        decision = self._tenancy.decide_in_turn([wish for wish in in_turn if wish.instance_id not in sitting])[-1]
        if isinstance(decision, Admit):
            self._tenancy.seated(in_turn[-1], decision)
            self._tenancy.call_began(in_turn[-1].instance_id)
        return decision

    def _note_end(self, seat_id: str, leaders: Mapping[str, int]) -> int | None:
        self._tenancy.call_ended(seat_id)
        self._tenancy.measure({name: family_of(pid) for name, pid in leaders.items()})
        return self._tenancy.held_bytes(seat_id)
