"""Alerts: a line of text that people should see, with a level, and not more often than they want to."""

import logging
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from flashtrial.core.errors import ConfigurationError
from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.capture.masking import Masks
from flashtrial.tracking.values import text

NAME = "alert"
MAX_TITLE_CHARS = 200
MAX_TEXT_CHARS = 20_000


class AlertLevel(StrEnum):
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"

    @property
    def for_logging(self) -> int:
        return {AlertLevel.INFO: logging.INFO, AlertLevel.WARN: logging.WARNING}.get(self, logging.ERROR)


_WORDS = {
    **{level.value: level for level in AlertLevel},
    "DEBUG": AlertLevel.INFO,
    "WARNING": AlertLevel.WARN,
    "CRITICAL": AlertLevel.ERROR,
}


@dataclass(frozen=True, slots=True)
class Alert:
    """What is to be said. `wait_s`: an alert of the same title within so many seconds before it makes it unsaid."""

    title: str
    text: str
    level: AlertLevel
    wait_s: float
    url: str | None = None

    def shown(self, masks: Masks) -> "Alert":
        """The same without its secrets, and no longer than alerts are."""
        return replace(
            self,
            title=text(masks.masked_head(self.title, MAX_TITLE_CHARS)),
            text=text(masks.masked_head(self.text, MAX_TEXT_CHARS)),
            url=masks.masked(self.url) if self.url else None,
        )

    def to_value(self) -> dict[str, JsonValue]:
        """What stands in the record."""
        said: dict[str, JsonValue] = {"title": self.title, "text": self.text, "level": self.level.value}
        return {**said, "url": self.url} if self.url else said


def parse_alert(
    title: str | None, body: str | None, level: str | int, wait: float | timedelta, url: str | None = None
) -> Alert:
    """An alert of these words; of title and body one is enough. Raises `ConfigurationError`."""
    if not title and not body:
        raise ConfigurationError("an alert has a title or a text")
    wait_s = wait.total_seconds() if isinstance(wait, timedelta) else float(wait)
    if not wait_s >= 0:
        raise ConfigurationError(f"wait is a number of seconds from 0 on, not {wait!r:.80}")
    head = str(title or str(body).partition("\n")[0])
    return Alert(head, str(body or ""), _level(level), wait_s, url)


class AlertGate:
    """Lets an alert pass unless one of its title has passed within its wait. For one thread at a time."""

    def __init__(self) -> None:
        self._passed: dict[str, float] = {}

    def passes(self, alert: Alert, now: float | None = None) -> bool:
        now = time.monotonic() if now is None else now
        before = self._passed.get(alert.title)
        if before is not None and now - before < alert.wait_s:
            return False
        self._passed[alert.title] = now
        return True


def _level(said: str | int) -> AlertLevel:
    name = logging.getLevelName(said) if isinstance(said, int) else str(said).upper()
    if name not in _WORDS:
        raise ConfigurationError(f"an alert's level is one of {', '.join(AlertLevel)}, not {said!r:.80}")
    return _WORDS[name]
