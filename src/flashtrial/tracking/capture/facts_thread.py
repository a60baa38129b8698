"""Facts of a run where no process can be started for them: in a worker's child, without what git says."""

import logging
import threading

from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.records import RecordKind
from flashtrial.tracking.capture.fork_gate import imported
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.capture.run_parts import PartHost
from flashtrial.tracking.capture.subject import Subject

logger = logging.getLogger(__name__)


class FactsThread:
    """Implements `RunPart`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self, run: PartHost) -> None:
        if run.is_owner:
            arguments = (run, Subject.of_this_process(run.masks), run.masks)
            self._thread = threading.Thread(target=_note_facts, args=arguments, name="flashtrial-facts", daemon=True)
            self._thread.start()

    def close(self, deadline_s: float) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(deadline_s)

    def renew_after_fork(self) -> None:
        self._thread = None


def _note_facts(run: PartHost, subject: Subject, masks: Masks) -> None:
    facts = imported("flashtrial.tracking.capture.facts")
    assert facts is not None
    try:
        run.append(RecordKind.DATA.value, facts.facts_body(facts.collect(subject, masks)))
    except FlashtrialError as error:  # the run ended first
        logger.debug("no facts: %s", error, extra={"action": "facts_too_late"})
