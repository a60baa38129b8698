"""What calls print, in the consoles of the runs that they touched, while they run.

::

    event loop: CallConsole.touched / .output / .end ──queue──▶ one thread: lines, masks, records ──▶ the outbox

The loop never waits for a disk. A call's lines are records of a guest's: the run neither begins nor ends with them.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flashtrial.protocol.child import MOST_SECRETS

MOST_WAITING_BYTES: Final = 16 * 1024 * 1024
_SETTLE_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Said:
    """`run_id` is set where the call touched a run, `secrets` are not shown from now on."""

    console: "CallConsole"
    data: bytes
    run_id: str | None = None
    secrets: tuple[str, ...] = ()
    is_last: bool = False

    @property
    def is_output(self) -> bool:
        return self.run_id is None and not self.secrets and not self.is_last


class RunConsoles:
    """Keeps them for one worker. Its methods are called in the event loop's thread."""

    def __init__(self, outbox: Path, worker_id: str) -> None:
        self._outbox = outbox
        self._worker_id = worker_id
        self._said: queue.SimpleQueue[_Said | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._put_bytes = 0  # by the loop
        self._taken_bytes = 0  # by the thread

    def of_call(self) -> "CallConsole":
        """The console of a call that begins; whoever asked ends it."""
        return CallConsole(self._put)

    def close(self) -> None:
        """Write what is there, and end the thread; waits for the disk."""
        if self._thread is not None:
            self._said.put(None)
            self._thread.join()
            self._thread = None

    def _put(self, said: _Said) -> bool:
        """Whether it will be recorded: output is cut that the disk does not keep up with, what is said of it never."""
        if self._put_bytes - self._taken_bytes > MOST_WAITING_BYTES and said.is_output:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._record, name="run-consoles", daemon=True)
            self._thread.start()
        self._put_bytes += len(said.data)
        self._said.put(said)
        return True

    def _record(self) -> None:
        from flashtrial.worker.console_recording import Recording  # noqa: PLC0415 - the calls of most workers touch no run

        open_consoles: dict[CallConsole, Recording] = {}
        while True:
            try:
                said = self._said.get(timeout=_SETTLE_EVERY_S if open_consoles else None)
            except queue.Empty:
                for recording in open_consoles.values():
                    recording.settle()
                continue
            if said is None:
                break
            self._taken_bytes += len(said.data)
            if said.console not in open_consoles:
                open_consoles[said.console] = Recording(self._outbox, self._worker_id)
            recording = open_consoles[said.console]
            if said.secrets:
                recording.learn(said.secrets)
            if said.run_id is not None:
                recording.begin(said.run_id)
            recording.feed(said.data)
            if said.is_last:
                open_consoles.pop(said.console).end()
        for recording in open_consoles.values():
            recording.end()


class CallConsole:
    """That of one call. Implements `RunConsole`; lives in the event loop's thread."""

    def __init__(self, put: Callable[[_Said], bool]) -> None:
        self._put = put
        self._is_used = False
        self._left_out_bytes = 0
        self._secrets: set[str] = set()

    def touched(self, run_id: str, said: bytes) -> None:
        """From now on what the call prints goes to this run; `said` is what came before the first one."""
        self._is_used = True
        self._put(_Said(self, said, run_id, tuple(self._secrets)))

    def output(self, data: bytes) -> None:
        """Some bytes that the call wrote."""
        if self._left_out_bytes:
            data = f"\n[flashtrial] {self._left_out_bytes} bytes are left out here\n".encode() + data
        if self._put(_Said(self, data)):
            self._left_out_bytes = 0
        else:
            self._left_out_bytes += len(data)

    def secrets(self, texts: Sequence[str]) -> None:
        """What the call's runs hide, at most `MOST_SECRETS` of it."""
        news = tuple(set(texts) - self._secrets)[: MOST_SECRETS - len(self._secrets)]
        self._secrets.update(news)
        if self._is_used and news:
            self._put(_Said(self, b"", secrets=news))

    def end(self) -> None:
        """The call is over. Costs nothing where it touched no run."""
        if self._is_used:
            self._put(_Said(self, b"", is_last=True))
