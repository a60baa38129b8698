"""The sync process: ``python -m flashtrial.tracking.sending.sync_main --outbox DIR``.

Owns the outbox while it holds ``sync.lock``; ends when no writer lives and nothing is pending. Outlives its starter: a
session of its own, working directory ``/``, log in ``$FLASHTRIAL_HOME/logs/sync.log`` (its standard error).

    SIGTERM ─▶ one last round of sending, at most `DRAIN_BUDGET_S`, then the end; the rest is sent by the next one
"""

import argparse
import contextlib
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeAlias

from flashtrial.core import env, log
from flashtrial.core.clock import Clock, SystemClock
from flashtrial.core.files import Locked, ensure_private_dir, file_lock
from flashtrial.tracking.journal.outbox import lock_path
from flashtrial.tracking.journal.routes import Destinations
from flashtrial.tracking.sending.adoption import Adoption
from flashtrial.tracking.sending.couriers import Couriers
from flashtrial.tracking.sending.feeds import sweep
from flashtrial.tracking.sending.sync import Stop
from flashtrial.tracking.sending.volume import LeaseLost, hold_lease, is_leased, may_remove_adopted

logger = logging.getLogger(__name__)

DRAIN_BUDGET_S = 10
LOCK_ATTEMPTS = 10
LOCK_PAUSE_S = 0.02

TakeLock: TypeAlias = Callable[[], contextlib.AbstractContextManager[None]]


class Syncing(Protocol):
    """What is done while the lock is held; `Couriers` and `Sync` are such."""

    def run_until_idle(self, stop: Stop) -> None: ...

    def is_idle(self) -> bool: ...


class DrainBudgetSpent(BaseException):
    """Raised by the alarm when the last round of sending takes too long; what was not sent stays in its journals."""


class TerminationSignal:
    """SIGTERM as something to wait for; made in the main thread, once per process."""

    def __init__(self) -> None:
        self._asked = False
        self._wake_receiver, self._wake_sender = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_sender, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGALRM, self._give_up)

    def is_set(self) -> bool:
        return self._asked

    def wait(self, timeout: float, /) -> None:
        select.select([self._wake_receiver], [], [], timeout)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            signal.alarm(DRAIN_BUDGET_S)

    def _give_up(self, _number: int, _frame: FrameType | None) -> None:
        raise DrainBudgetSpent


def main(arguments: list[str] | None = None) -> int:
    """Sync one outbox until it is idle; the exit status of the process."""
    parser = argparse.ArgumentParser(
        prog="flashtrial.tracking.sending.sync_main", description="Sync one outbox until it is idle."
    )
    parser.add_argument("--outbox", type=Path, required=True, help="directory of journals")
    outbox = ensure_private_dir(parser.parse_args(arguments).outbox.absolute())
    _leave_the_starter()
    log.configure()
    try:
        sync_outbox(outbox, env.home(), env.snapshot(), TerminationSignal())
    except DrainBudgetSpent:
        logger.warning("told to end; what is left is sent next time", extra={"action": "sync_drain_cut"})
    return 0


def sync_outbox(
    outbox: Path, home: Path, environment: Mapping[str, str], stop: Stop, take_lock: TakeLock | None = None
) -> None:
    """Sync until idle or told to stop. Does nothing when another process or thread does it already."""
    destinations = Destinations(home=str(home))
    clock = SystemClock()
    couriers = Couriers(outbox, home, environment, clock, destinations)
    with contextlib.closing(couriers):
        if not is_leased(outbox):
            keep_synced(outbox, couriers, stop, take_lock)
            return

        def adopt(path: Path) -> Couriers:
            return Couriers(path, home, environment, clock, destinations, may_remove=may_remove_adopted)

        with Adoption(outbox, adopt, clock):
            keep_synced(outbox, couriers, stop, partial(_take_lease, outbox, couriers, clock))


@contextlib.contextmanager
def _take_lease(outbox: Path, couriers: Couriers, clock: Clock) -> Iterator[None]:
    """The lock, which is good on this machine, and the lease, which is good between machines. Raises `Locked`."""
    with file_lock(lock_path(outbox), wait=False), hold_lease(outbox, clock) as lease:
        couriers.keep_hold = lease.renew_when_due
        try:
            yield
        except LeaseLost:
            logger.warning("%s is another worker's now", outbox, extra={"action": "sync_fenced"})


def keep_synced(outbox: Path, sync: Syncing, stop: Stop, take_lock: TakeLock | None = None) -> None:
    """Hold the outbox's lock and sync, until nobody needs it any more.

    `take_lock` gives a context in which the lock is held, or raises `Locked`. A writer that comes between the last look
    and the release of the lock takes us for alive and starts nobody: so we look once more after it.
    """
    take_lock = take_lock or (lambda: file_lock(lock_path(outbox), wait=False))
    while _sync_holding_lock(outbox, sync, stop, take_lock) and not stop.is_set() and not sync.is_idle():
        pass


def _sync_holding_lock(outbox: Path, sync: Syncing, stop: Stop, take_lock: TakeLock) -> bool:
    """Whether the lock could be had, and so a whole round was done."""
    try:
        with _lock_soon(take_lock, stop):
            logger.info("sync of %s by process %d begins", outbox, os.getpid(), extra={"action": "sync_begin"})
            sweep(outbox)
            sync.run_until_idle(stop)
            logger.info("sync of %s by process %d ends", outbox, os.getpid(), extra={"action": "sync_end"})
            return True
    except Locked:
        return False


@contextlib.contextmanager
def _lock_soon(take_lock: TakeLock, stop: Stop) -> Iterator[None]:
    """The outbox's lock, tried for a moment: who merely asks whether it is held also holds it, for an instant.

    Raises `Locked`.
    """
    with contextlib.ExitStack() as stack:
        for attempt in range(LOCK_ATTEMPTS):
            try:
                stack.enter_context(take_lock())
                break
            except Locked:
                if attempt == LOCK_ATTEMPTS - 1:
                    raise
                stop.wait(LOCK_PAUSE_S)
        yield


def _leave_the_starter() -> None:
    os.chdir("/")
    if os.getsid(0) != os.getpid():
        with contextlib.suppress(PermissionError):  # a leader of a process group is in a session of its own already
            os.setsid()


if __name__ == "__main__":
    sys.exit(main())
