"""A worker whose platform died would ask it for jobs for ever; it watches the process that it belongs to instead."""

import logging
import os
import select
import signal
import threading
from typing import Final

PARENT_PID: Final = "FLASHTRIAL_PARENT_PID"
DRAIN_S: Final = 5.0

logger = logging.getLogger(__name__)


def end_with(parent_pid: int) -> None:
    """End this process soon after `parent_pid` does: TERM, then, if it is still there, at once. Linux only.

    Returns at once; a daemon thread waits.
    """
    try:
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGTERM)
        return
    threading.Thread(target=_wait, args=(parent,), name="parent-watch", daemon=True).start()


def _wait(parent: int) -> None:
    select.select([parent], [], [])
    logger.warning("the process this worker belongs to is gone; ending", extra={"action": "parent_gone"})
    timer = threading.Timer(DRAIN_S, os._exit, args=(1,))
    timer.daemon = True
    timer.start()
    os.kill(os.getpid(), signal.SIGTERM)
