"""Secrets taken out of what is captured: values of secret variables, credentials in addresses, values of secret flags.

Best effort by its nature: what a program prints under no known name cannot be told from other words.
"""

import re
from collections.abc import Sequence
from typing import Final

from flashtrial.core.log import MaskSecrets
from flashtrial.core.masking import MASK

_CREDENTIALS: Final = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_SECRET_FLAG: Final = re.compile(r"^-{1,2}[\w.-]*(?:token|key|secret|password|passwd)$", re.IGNORECASE)


class Masks:
    """Knows the secrets that this process's environment names now."""

    def __init__(self) -> None:
        self._named = MaskSecrets()

    def masked(self, text: str) -> str:
        """`text` with each secret that is known replaced."""
        if "://" in text:
            text = _CREDENTIALS.sub(MASK, text)
        return self._named.masked(text)

    def masked_command(self, arguments: Sequence[str]) -> list[str]:
        """A command line in which, besides, the values of flags named like secrets are replaced."""
        shown: list[str] = []
        hides_next = False
        for argument in arguments:
            flag, equals, _value = argument.partition("=")
            is_secret = bool(_SECRET_FLAG.match(flag))
            hidden = f"{flag}={MASK}" if is_secret and equals else self.masked(argument)
            shown.append(MASK if hides_next and not argument.startswith("--") else hidden)
            hides_next = is_secret and not equals
        return shown
