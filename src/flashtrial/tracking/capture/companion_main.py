"""The companion of a run: ``python -m flashtrial.tracking.capture.companion_main SOCKET``.

Keeps the console of the run's process and collects its facts, with a writer of its own that joins the run. A process,
so that the last words before a death are not lost with who said them, and that nothing here takes the training's time.
In a session of its own; deaf to the signals that end a terminal's programs, since it ends by itself when all that could
write to it are gone. Its log is ``$FLASHTRIAL_HOME/logs/companion.log``.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from flashtrial.core import env, log
from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import JsonValue, RecordKind
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.capture import assignment
from flashtrial.tracking.capture.assignment import Assignment
from flashtrial.tracking.capture.facts import collect, collect_git, facts_body
from flashtrial.tracking.capture.git_state import PATIENCE_S, git_state
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.capture.recorder import ConsoleRecorder
from flashtrial.tracking.capture.subject import Subject
from flashtrial.tracking.capture.tee import Tee
from flashtrial.tracking.journal.writer import JOINING, RunWriter
from flashtrial.tracking.settings.resolution import Courier, EffectiveSettings

logger = logging.getLogger(__name__)

_GUEST_IS_DONE = {"status": RunStatus.FINISHED.value, "guest": True}
_AS_A_GUEST = {**JOINING, "guest": True}  # whatever the companion does, the run neither begins nor ends with it


class Notes:
    """What the companion writes. Implements `Ledger`; facts come from a thread of their own."""

    def __init__(self, writer: RunWriter) -> None:
        self._writer = writer
        self._facts: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the two below: the facts come from a thread
        self._known: dict[str, JsonValue] = {}  # facts that are not written yet
        self._is_closed = False

    @property
    def is_complete(self) -> bool:
        return self._facts is None or not self._facts.is_alive()

    def append(self, kind: str, body: dict[str, Any]) -> None:
        """Write one record; what comes after the end is left out."""
        if not self._is_closed:
            with contextlib.suppress(FlashtrialError):
                self._writer.append(kind, body)

    def note_facts(self, subject: Subject, masks: Masks) -> None:
        """Collect them, beside what else is done. When the run ends before git has answered they are without it."""

        def work() -> None:
            self._know(collect(subject, masks))
            self._know(collect_git(subject, masks, git_state))
            self._write_facts()

        self._facts = threading.Thread(target=work, name="facts", daemon=True)
        self._facts.start()

    def wait_for_git(self) -> None:
        """So that none that hangs outlives this process."""
        if self._facts is not None:
            self._facts.join(PATIENCE_S)

    def _know(self, facts: dict[str, JsonValue]) -> None:
        with self._lock:
            self._known |= facts

    def _write_facts(self) -> None:
        with self._lock:
            known, self._known = self._known, {}
            if known:
                self.append(RecordKind.DATA.value, facts_body(known))

    def close(self) -> str:
        self._write_facts()
        writer = self._writer
        if writer.last_seq:
            # nobody is to take a companion that is through for a writer that died; of the run's end it says nothing
            self.append(RecordKind.STATE.value, _GUEST_IS_DONE)
        self._is_closed = True
        if writer.last_seq:
            writer.see_to_sync()
        said = f"done {writer.writer_id or '-'} {writer.last_seq}\n"
        writer.close()
        return said


def main(arguments: list[str] | None = None) -> int:
    """Serve one run; the exit status of the process."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    [number] = sys.argv[1:] if arguments is None else arguments
    control = socket.socket(fileno=int(number))
    os.chdir("/")
    sys.setswitchinterval(0.0005)  # the thread that collects facts must not hold up the terminal
    log.configure()
    try:
        serve(assignment.receive(control), control)
    except assignment.NoAssignment:
        logger.info("the run's process is gone", extra={"action": "companion_without_run"})
    return 0


def serve(wanted: Assignment, control: socket.socket) -> None:
    """Be the companion until there is nothing left to do."""
    masks = Masks(wanted.secrets)
    notes = Notes(RunWriter(wanted.run_id, _settings(wanted), _AS_A_GUEST, wanted.opened_ms))
    tee = Tee(wanted.streams, control, ConsoleRecorder(notes.append, masks, wanted.prefix), notes)
    if wanted.subject is not None:
        notes.note_facts(wanted.subject, masks)
    tee.run()
    notes.wait_for_git()


def _settings(wanted: Assignment) -> EffectiveSettings:
    """A thread of the run's process may be the courier, or a worker: then sending is not our business."""
    return EffectiveSettings(
        project="",
        url=env.get(env.URL) or None,
        token=env.get(env.TOKEN) or None,
        home=env.home(),
        outbox=Path(os.fsdecode(wanted.outbox)),
        courier=Courier.PROCESS if wanted.sends else Courier.WORKER,
        finish_timeout_s=0.0,
        worker_id=None,
        backends=wanted.backends,
        limits=wanted.limits,
    )


if __name__ == "__main__":
    sys.exit(main())
