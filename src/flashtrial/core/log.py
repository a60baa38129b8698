"""Logging as our own processes configure it; libraries and user code never see this."""

import logging
import sys

from flashtrial.core import env

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(level: str | None = None) -> None:
    """Send this process's log to standard error at `level`, else at ``LOG_LEVEL``, else at INFO.

    Called by entry points only. An unknown level is INFO and said so.
    """
    wanted = (level or env.get(env.LOG_LEVEL, "INFO")).upper()
    known = wanted in logging.getLevelNamesMapping()
    logging.basicConfig(level=wanted if known else "INFO", format=FORMAT, stream=sys.stderr)
    if not known:
        logging.getLogger(__name__).warning("LOG_LEVEL=%s is not a level; using INFO", wanted)
