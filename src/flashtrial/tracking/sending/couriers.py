"""One thread per destination, and the thread that looks after them all.

    main thread: new destinations? tokens handed over? all idle?      ┌─ courier native ──────▶ its server
    (holds the outbox's lock)                              ─ starts ─▶├─ courier native http:…─▶ another one
                                                                      └─ courier mlflow ──────▶ …

A destination that is slow or down holds up no other. Couriers share the `OutboxState`.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from flashtrial.core import env
from flashtrial.core.clock import Clock
from flashtrial.protocol.records import DamagedFrame, JournalHeader
from flashtrial.tracking.backends.base import Backend
from flashtrial.tracking.backends.late import LateBackend, load_backend
from flashtrial.tracking.backends.native import NativeBackend
from flashtrial.tracking.backends.native_files import FileBackend
from flashtrial.tracking.journal.handover import HandoverPipe
from flashtrial.tracking.journal.outbox import interest_path, is_locked
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.journal.routes import NATIVE, Destination, Destinations, Route
from flashtrial.tracking.journal.segments import list_segments, segment_path
from flashtrial.tracking.media.staging import sweep
from flashtrial.tracking.media.uploads import FILES, WithFiles
from flashtrial.tracking.sending.addresses import Addresses
from flashtrial.tracking.sending.compaction import Compaction
from flashtrial.tracking.sending.outbox_state import OutboxState
from flashtrial.tracking.sending.sync import POLL_S, Stop, Sync
from flashtrial.tracking.settings.limits import WhenFull

LIMIT_LOOK_EVERY_S = 1.0
GATE_TIMEOUT_S = 1.0

logger = logging.getLogger(__name__)


class Courier:
    """Brings one destination what it has to get, on a thread of its own between `start` and `join`."""

    def __init__(self, sync: Sync, backend: Backend) -> None:
        self.sync = sync
        self.is_idle = False
        self.failure: BaseException | None = None
        self.at_work = threading.Lock()  # held while files of the outbox are read
        self._backend = backend
        self._ending = threading.Event()
        self._has_last_round = True
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, again after a `join`. Calling twice is safe."""
        if self._thread is None:
            self._ending.clear()
            self.is_idle = False
            self._thread = threading.Thread(target=self._run, name="flashtrial-courier", daemon=True)
            self._thread.start()

    def ask_to_end(self, *, has_last_round: bool) -> None:
        """Return at once; the courier ends soon, after a last round if it is to do one."""
        self._has_last_round = has_last_round
        self._ending.set()

    def join(self) -> None:
        """Wait for the end. Raises what ended the thread too early."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        self._backend.close()

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                with self.at_work:
                    has_sent = self.sync.step()
                    self.is_idle = not has_sent and self.sync.is_idle()
                if not has_sent:
                    self._ending.wait(self.sync.poll_s)
            with self.at_work:
                if self._has_last_round:
                    self.sync.last_round()
        except Exception as error:  # noqa: BLE001 - the edge of a thread: raised in the main one
            self.failure = error


class Couriers:
    """All destinations of one outbox. Used by the thread that holds the outbox's lock."""

    def __init__(
        self,
        outbox: Path,
        home: Path,
        environment: Mapping[str, str],
        clock: Clock,
        destinations: Destinations,
        *,
        may_remove: Callable[[list[Path]], bool] = lambda _paths: True,
    ) -> None:
        self.keep_hold: Callable[[], None] = lambda: None  # called now and then; raises when the outbox is not ours
        self._may_remove = may_remove
        self._outbox = outbox
        self._home = home
        self._environment = {**environment, env.OUTBOX: str(outbox)}  # backends look there for staged files
        self._clock = clock
        self._destinations = WithFiles(destinations, outbox)
        self._state = OutboxState(outbox, clock)
        self._addresses = Addresses(home, environment)
        self._handover = HandoverPipe(outbox)
        self._couriers: dict[Destination, Courier] = {}
        self._looked_at: set[str] = set()
        self._compaction = Compaction(self._state, destinations)
        self._limit_bytes: int | None = None  # None: nothing is to be dropped
        self._newest = ""
        self._next_look = 0.0

    def run_until_idle(self, stop: Stop) -> None:
        """Send until there is nothing left to wait for, or until `stop`; then what still goes without an outage."""
        self._handover.open()
        self._state.say_status()
        try:
            while not stop.is_set() and not self._is_all_done():
                stop.wait(min((courier.sync.poll_s for courier in self._couriers.values()), default=POLL_S))
        except BaseException:
            for courier in self._couriers.values():
                courier.ask_to_end(has_last_round=False)
            raise
        finally:
            self._handover.close()
        for courier in self._couriers.values():
            courier.ask_to_end(has_last_round=True)
        for courier in self._couriers.values():
            courier.join()

    def step_all(self) -> bool:
        """One step of each destination in this thread; whether any had something to send. Without `run_until_idle`."""
        self._find_destinations()
        had_something = [courier.sync.step() for courier in self._couriers.values()]
        return any(had_something)

    def is_idle(self) -> bool:
        """Whether nothing is pending and no writer lives that could bring more. Not while couriers are at work."""
        if is_locked(interest_path(self._outbox), shared=True) or self._find_destinations():
            return False
        return all(courier.sync.is_idle() for courier in self._couriers.values())

    def close(self) -> None:
        for courier in self._couriers.values():
            courier.close()
        with contextlib.suppress(OSError):  # no outbox any more
            sweep(self._outbox, has_journals=bool(list_segments(self._outbox)))

    def _is_all_done(self) -> bool:
        self.keep_hold()
        for url, token, home in self._handover.take():
            self._addresses.keep(url, token, home)
        has_news = self._find_destinations()
        self._keep_within_limit()
        for courier in self._couriers.values():
            courier.start()
            if courier.failure is not None:
                raise courier.failure
        if has_news or is_locked(interest_path(self._outbox), shared=True):
            return False
        return all(courier.is_idle for courier in self._couriers.values())

    def _keep_within_limit(self) -> None:
        """Make room where the newest journal's settings ask for it; at most once a second."""
        if self._limit_bytes is None or self._clock.monotonic() < self._next_look:
            return
        self._next_look = self._clock.monotonic() + LIMIT_LOOK_EVERY_S
        if self._compaction.is_due(self._limit_bytes):
            with contextlib.ExitStack() as stack:
                for courier in self._couriers.values():
                    if not courier.at_work.acquire(timeout=GATE_TIMEOUT_S):
                        return  # a request takes long; the next look may find it over
                    stack.callback(courier.at_work.release)
                self._compaction.make_room(self._limit_bytes)

    def _find_destinations(self) -> bool:
        """Look at the headers of journals that are new; whether one names a destination that nobody serves yet."""
        found = list_segments(self._outbox)
        self._looked_at &= found.keys()
        if self._destinations.have_appeared():  # files were staged: journals seen before have one destination more
            self._looked_at.clear()
        before = len(self._couriers)
        for writer_id in found.keys() - self._looked_at:
            with contextlib.suppress(OSError):
                self._look_at(writer_id, found[writer_id][0])
        return len(self._couriers) > before

    def _look_at(self, writer_id: str, number: int) -> None:
        try:
            reader = JournalReader.open(segment_path(self._outbox, writer_id, number))
        except DamagedFrame:
            self._serve(Destination(NATIVE))  # who finds it damaged, too, and sets it aside
        else:
            self._take_limit(reader.header)
            for destination in self._destinations(reader.header, reader.writer_is_alive()):
                self._serve(destination)
        self._looked_at.add(writer_id)

    def _take_limit(self, header: JournalHeader) -> None:
        """The newest journal's settings hold; identities sort by the time of their making."""
        if header.writer_id >= self._newest:
            self._newest = header.writer_id
            limit = header.facts.get("outbox_bytes")
            drops = header.facts.get("when_full") == WhenFull.DROP
            self._limit_bytes = limit if drops and isinstance(limit, int) else None

    def _serve(self, destination: Destination) -> None:
        if destination not in self._couriers:
            backend = self._backend(destination)
            sync = Sync(
                self._outbox,
                backend,
                self._clock,
                route=Route(destination, self._destinations),
                state=self._state,
                may_remove=self._may_remove,
                whereabouts=lambda: self._addresses.whereabouts(destination),
            )
            self._couriers[destination] = Courier(sync, backend)

    def _backend(self, destination: Destination) -> Backend:
        find, refuse = partial(self._addresses.find, destination), partial(self._addresses.refuse, destination)
        if destination.name == NATIVE:
            return NativeBackend(find, refuse=refuse)
        if destination.name == FILES:
            return FileBackend(self._outbox, find, self._destinations, refuse)
        return LateBackend(destination.name, lambda: load_backend(destination.name, self._home, self._environment))
