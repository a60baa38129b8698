"""Sending what workers left on the network volume that do not come again: a thread beside a worker's own couriers.

Looks twice a minute; takes an outbox whose lease has expired, sends what is in it under its own, and lets go.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from flashtrial.core.clock import Clock
from flashtrial.core.errors import FlashtrialError
from flashtrial.core.files import Locked
from flashtrial.tracking.sending.couriers import Couriers
from flashtrial.tracking.sending.volume import LeaseLost, adoptable, hold_lease

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0


class Adoption:
    """The outboxes beside `own` whose workers are gone."""

    def __init__(self, own: Path, make_couriers: Callable[[Path], Couriers], clock: Clock) -> None:
        self._own = own
        self._make_couriers = make_couriers
        self._clock = clock
        self._adopted: dict[Path, Couriers] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flashtrial-adoption", daemon=True)

    def __enter__(self) -> "Adoption":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for couriers in self._adopted.values():
            couriers.close()

    def look(self) -> None:
        """Send what can be sent of each outbox that is free now. Raises OSError."""
        for outbox in adoptable(self._own):
            with contextlib.suppress(Locked, LeaseLost):
                self._send(outbox)

    def _send(self, outbox: Path) -> None:
        with hold_lease(outbox, self._clock) as lease:
            logger.info("sending what %s left", outbox, extra={"action": "outbox_adopted"})
            if outbox not in self._adopted:
                self._adopted[outbox] = self._make_couriers(outbox)
            while self._adopted[outbox].step_all() and not self._ending.is_set():
                lease.renew_when_due()

    def _run(self) -> None:
        """A first look at once: a worker that has just come up may be the one that follows on the dead one."""
        while True:
            try:
                self.look()
            except (OSError, FlashtrialError) as error:
                logger.warning("nothing could be adopted: %s", error, extra={"action": "adoption_failed"})
            if self._ending.wait(LOOK_EVERY_S):
                return
