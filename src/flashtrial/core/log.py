"""Logging as our own processes configure it; libraries and user code never see this."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from flashtrial.core import env
from flashtrial.core.masking import longest_first, masked_text, secrets_of_environment, without

_PLAIN: Final = logging.Formatter()
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class MaskSecrets(logging.Filter):
    """Puts a mask in place of the values of environment variables that are secrets by their name.

    Read once, when the filter is made: a secret that comes later is not known. What user code prints is not ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self._secrets = longest_first(secrets_of_environment(env.snapshot()))

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it shows a secret; every record passes."""
        said = record.getMessage()
        masked = self.masked(said)
        if masked != said:
            record.msg, record.args = masked, None
        if raised := traceback_of(record):
            record.exc_text = self.masked(raised)  # what formatters take before `exc_info`
        return True

    def masked(self, text: str) -> str:
        """`text` with `MASK` in place of each secret, and of what looks like one."""
        return masked_text(without(text, self._secrets))


def traceback_of(record: logging.LogRecord) -> str:
    """The traceback of a record as text, empty where it has none. A filter before us, as `runpod_flash`'s, may have
    formatted it already and taken the exception itself away.
    """
    return record.exc_text or (_PLAIN.formatException(record.exc_info) if record.exc_info else "")


# What every record has; the rest of its attributes are what its `extra` said.
_USUAL: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, ``action`` and the other
    extras of the record, ``error`` with the traceback. What JSON cannot say is told by its ``str``.
    """

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {name: value for name, value in record.__dict__.items() if name not in _USUAL and name not in said}
        if raised := traceback_of(record):
            said["error"] = raised
        return json.dumps(said, default=str)


def configure(level: str | None = None) -> None:
    """Send this process's log to standard error at `level`, else at ``LOG_LEVEL``, else at INFO.

    Called by entry points only. An unknown level is INFO and said so; ``FLASHTRIAL_LOG_FORMAT=json`` means `JsonLines`.
    """
    wanted = (level or env.get(env.LOG_LEVEL, "INFO")).upper()
    known = wanted in logging.getLevelNamesMapping()
    logging.basicConfig(level=wanted if known else "INFO", format=FORMAT, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(MaskSecrets())
        if env.get(env.LOG_FORMAT).lower() == "json":
            handler.setFormatter(JsonLines())
    if not known:
        logging.getLogger(__name__).warning("LOG_LEVEL=%s is not a level; using INFO", wanted)
