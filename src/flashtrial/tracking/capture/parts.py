"""Which parts of capture a run gets, by its settings and by what kind of process this is."""

import logging
import sys
import threading
from collections.abc import Iterable

from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import RecordKind
from flashtrial.tracking.capture.companion import Companion
from flashtrial.tracking.capture.facts import Subject, collect, facts_body
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.capture.monitor import SystemMonitor
from flashtrial.tracking.parts import PartHost, RunPart
from flashtrial.tracking.settings import EffectiveSettings

logger = logging.getLogger(__name__)


def capture_parts(settings: EffectiveSettings) -> Iterable[RunPart]:
    """The parts, not started yet."""
    if settings.system_monitor:
        yield SystemMonitor(settings.system_interval_s)
    if settings.worker_id is not None:  # nothing is started there, and the worker has the output of each call
        if settings.facts:
            yield FactsThread()
        return
    console = console_is_safe() if settings.console is None else settings.console
    if console or settings.facts:
        yield Companion(console=console, facts=settings.facts)


def console_is_safe() -> bool:
    """Whether descriptors 1 and 2 are this program's to lead elsewhere, and what it prints comes out there.

    Not at a prompt and in notebooks, whose front ends have the output already and talk to the terminal themselves, and
    not in tests under pytest, which leads the descriptors elsewhere for each test.
    """
    return not (
        hasattr(sys, "ps1") or sys.flags.interactive or {"ipykernel", "IPython", "_pytest"} & sys.modules.keys()
    )


class FactsThread:
    """Implements `RunPart`: facts where no process can be started for them. git is not asked, which is a process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self, run: PartHost) -> None:
        if run.is_owner:
            masks = Masks()
            arguments = (run, Subject.of_this_process(masks), masks)
            self._thread = threading.Thread(target=_note_facts, args=arguments, name="flashtrial-facts", daemon=True)
            self._thread.start()

    def close(self, deadline_s: float) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(deadline_s)

    def renew_after_fork(self) -> None:
        self._thread = None


def _note_facts(run: PartHost, subject: Subject, masks: Masks) -> None:
    try:
        run.append(RecordKind.DATA.value, facts_body(collect(subject, masks)))
    except FlashtrialError as error:  # the run ended first
        logger.debug("no facts: %s", error, extra={"action": "facts_too_late"})
