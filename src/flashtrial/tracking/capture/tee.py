"""The companion's loop: what comes through the channels goes to the originals, byte for byte, and into records.

::

    run's process, its children ──▶ channel ──read──▶ write to the original ──▶ lines ──▶ records
                 └── socket: mask, finish ▶ ◀ done, broken

Forwarding comes first and goes on for as long as anybody may write; recording ends with the run. Single-threaded.
"""

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

from flashtrial.tracking.capture.assignment import FINISH, Piped, secrets_of
from flashtrial.tracking.capture.recorder import ConsoleRecorder
from flashtrial.tracking.capture.redirection import copy_window_size, write_all

CHUNK_BYTES: Final = 256 * 1024
# Of a program that writes line by line a few lines are taken at once: less than anybody sees on a terminal, and each
# awakening costs more than the lines. Not where much comes: a pseudo-terminal holds back who fills its 4 KiB.
GATHER_S: Final = 0.005
LITTLE_BYTES: Final = 1024
TICK_S: Final = 1.0
BUSY_TICK_S: Final = 0.02
ORPHAN_GRACE_S: Final = 5.0
FACTS_PATIENCE_S: Final = 1.5
SETTLE_S: Final = 0.03  # what was written to a pseudo-terminal may be on its way for a moment


class Ledger(Protocol):
    """Where records go, from the loop's point of view."""

    @property
    def is_complete(self) -> bool:
        """Whether all that is written besides the console has been."""
        ...

    def close(self) -> str:
        """Nothing more is written; what the run's process is to be told of it. Safe to call twice."""
        ...


class Tee:
    """Owns the channels' read ends, the originals and the socket."""

    def __init__(
        self,
        streams: tuple[Piped, ...],
        control: socket.socket,
        recorder: ConsoleRecorder,
        ledger: Ledger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = dict(enumerate(streams))
        self._broken: set[int] = set()
        self._control: socket.socket | None = control
        self._recorder: ConsoleRecorder | None = recorder
        self._ledger = ledger
        self._heard = b""  # of a message that is not complete
        self._is_told_to_finish = False
        self._monotonic = monotonic
        self._selector = selectors.DefaultSelector()
        self._is_finishing = False
        self._settles_at = 0.0
        self._ends_at: float | None = None  # recording ends then at the latest

    def run(self) -> None:
        """Until nobody can write any more and the run is over."""
        for number, piped in self._open.items():
            os.set_blocking(piped.read_end, False)
            self._selector.register(piped.read_end, selectors.EVENT_READ, number)
        if self._control is not None:
            self._control.setblocking(False)
            self._selector.register(self._control, selectors.EVENT_READ, None)
        while self._open or self._recorder is not None:
            came = 0
            for key, _ in self._selector.select(self._tick_s()):
                if key.data is None:
                    self._listen()
                else:
                    came += self._pass_on(key.data)
            if self._is_told_to_finish:
                self._begin_to_finish()
            self._look_around()
            if 0 < came < LITTLE_BYTES:
                time.sleep(GATHER_S)
        self._selector.close()

    def _tick_s(self) -> float:
        return TICK_S if self._ends_at is None and self._open else BUSY_TICK_S

    def _pass_on(self, number: int) -> int:
        """One chunk; the number of its bytes."""
        piped = self._open.get(number)
        if piped is None:  # forgotten since the loop last asked: while it listened, all was drained
            return 0
        try:
            data = os.read(piped.read_end, CHUNK_BYTES)
        except BlockingIOError:
            return 0
        except OSError:  # what a pseudo-terminal says when nobody has its other end any more
            data = b""
        if not data:
            self._forget(number)
            return 0
        if number not in self._broken and not write_all(piped.original, data):
            self._broken.add(number)
            self._tell(f"broken {number}\n")
        self._listen()  # a secret is told before it is printed, so that it is known by now
        if self._recorder is not None:
            self._recorder.feed(piped.stream, data)
        return len(data)

    def _forget(self, number: int) -> None:
        """Nobody can write there any more."""
        piped = self._open.pop(number)
        self._selector.unregister(piped.read_end)
        os.close(piped.read_end)
        os.close(piped.original)

    def _listen(self) -> None:
        if self._control is None:
            return
        try:
            said = self._control.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        *messages, self._heard = (self._heard + said).split(b"\n")
        for message in messages:
            self._is_told_to_finish |= message + b"\n" == FINISH
            if self._recorder is not None:
                self._recorder.learn(secrets_of(message))
        if not said:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None
            if self._ends_at is None:  # it died; what it started may have something to say still
                self._ends_at = self._monotonic() + ORPHAN_GRACE_S

    def _begin_to_finish(self) -> None:
        self._is_told_to_finish = False
        self._drain()
        self._is_finishing = True
        self._settles_at = self._monotonic() + SETTLE_S
        self._ends_at = self._monotonic() + FACTS_PATIENCE_S

    def _drain(self) -> None:
        """Take what was written before the channels were given back; what others write now may be part of it."""
        for number in list(self._open):
            for _ in range(64):  # of a megabyte's pipe; a child that floods must not keep us
                if not self._pass_on(number):
                    break

    def _look_around(self) -> None:
        for piped in self._open.values():
            copy_window_size(piped.original, piped.read_end)
        if self._recorder is None:
            return
        self._recorder.settle()
        is_settled = self._is_finishing and self._monotonic() >= self._settles_at
        is_over = is_settled and self._ledger.is_complete
        is_late = self._ends_at is not None and self._monotonic() >= self._ends_at
        is_silent = not self._open and self._ledger.is_complete
        if is_over or is_late or is_silent:
            self._end_recording()

    def _end_recording(self) -> None:
        assert self._recorder is not None
        self._drain()  # it may be late because the terminal was slow: what was written by now is part of it
        self._recorder.flush()
        self._recorder = None
        self._tell(self._ledger.close())

    def _tell(self, message: str) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):  # it is gone, or never listens
                self._control.send(message.encode("ascii"))
