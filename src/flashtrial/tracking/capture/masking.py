"""Secrets taken out of what is captured: those that the environment and the run's configuration name, credentials in
addresses, values of secret flags.

Best effort by its nature: what a program prints under no known name cannot be told from other words.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from flashtrial.core import env
from flashtrial.core.masking import (
    MASK,
    SHORTEST_SECRET,
    is_secret_name,
    longest_first,
    masked_text,
    secrets_of_environment,
    without,
)

MARGIN_CHARS: Final = 4 * 1024

_CREDENTIALS: Final = re.compile(r"(?<=://)[^\s/]+(?=@)")
_SECRET_FLAG: Final = re.compile(r"^-{1,2}[\w.-]*(?:token|key|secret|password|passwd)$", re.IGNORECASE)

Listener: TypeAlias = Callable[[Sequence[str]], None]


class Masks:
    """Knows the secrets that this process's environment names when it is made, and those that it is told later."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._learned: tuple[str, ...] = ()
        self._secrets = longest_first(secrets_of_environment(env.snapshot()))
        self._listener: Listener | None = None
        self.learn(secrets)

    @property
    def learned(self) -> tuple[str, ...]:
        """What the environment does not know of."""
        return self._learned

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these, too, from now on, but for those that are too short. Any thread may call it; none waits."""
        known = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        news = tuple(sorted(known.difference(self._secrets)))
        if not news:
            return
        self._learned += news
        self._secrets = longest_first({*self._secrets, *news})
        if self._listener is not None:
            self._listener(news)

    def tell(self, listener: Listener | None) -> None:
        """Call `listener` with what is learned from now on."""
        self._listener = listener

    def masked(self, text: str) -> str:
        """`text` with each secret that is known replaced."""
        text = without(text, self._secrets)
        if "://" in text:
            text = _CREDENTIALS.sub(MASK, text)
        return masked_text(text)

    def masked_head(self, text: str, most: int) -> str:
        """The beginning of `text`, masked; of what is cut off so much is looked at that no secret is halved."""
        shown = self.masked(text[: most + MARGIN_CHARS])
        return shown[:most] if len(text) <= most + MARGIN_CHARS else shown[:-MARGIN_CHARS][:most] or MASK

    def masked_tail(self, text: str, most: int) -> str:
        """The same of the end of `text`."""
        shown = self.masked(text[-most - MARGIN_CHARS :])
        return shown[-most:] if len(text) <= most + MARGIN_CHARS else shown[MARGIN_CHARS:][-most:] or MASK

    def masked_command(self, arguments: Sequence[str]) -> list[str]:
        """A command line in which, besides, the values of flags named like secrets are replaced."""
        shown: list[str] = []
        hides_next = False
        for argument in arguments:
            flag, equals, _value = argument.partition("=")
            is_secret = _is_secret_flag(flag)
            hidden = f"{flag}={MASK}" if is_secret and equals else self.masked(argument)
            shown.append(MASK if hides_next and not argument.startswith("--") else hidden)
            hides_next = is_secret and not equals and flag.startswith("-")
        return shown


def _is_secret_flag(flag: str) -> bool:
    """Whether a value after `flag` is a secret: ``--api-key``, ``hub.password`` of ``hub.password=…``."""
    if any(letter.isspace() for letter in flag):  # a text, a program
        return False
    return _SECRET_FLAG.match(flag) is not None or is_secret_name(flag)
