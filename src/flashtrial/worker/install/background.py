"""Work that no answer waits for: one piece after another in a thread of its own, best effort, failures counted."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Background:
    """One daemon thread, started with the first piece of work; it ends with the process, or by `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.stopping = threading.Event()
        """Set when the work is to end early; long work looks at it now and then."""
        self.failures = 0

    def submit(self, what: str, work: Callable[[], None]) -> None:
        """Do `work` later. `what` names it in the log, should it fail. Called from one thread."""
        self._work.put((what, work))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self, deadline_s: float) -> bool:
        """Finish what was submitted, or, after `deadline_s`, stop; whether all was done. Nothing is taken on later."""
        if self._thread is None:
            return True
        self._work.put(None)
        self._thread.join(deadline_s)
        done = not self._thread.is_alive()
        self.stopping.set()
        if not done:
            log.info("%s did not finish in %g s; the rest is left undone", self._name, deadline_s)
            self._thread.join(1.0)
        return done

    def _run(self) -> None:
        while (item := self._work.get()) is not None and not self.stopping.is_set():
            what, work = item
            try:
                work()
            except Exception:  # the edge of a thread: the next piece of work must have its turn
                self.failures += 1
                log.warning("%s failed; nothing depends on it", what, exc_info=True, extra={"action": "chore_failed"})
