"""Secrets taken out of what is kept: values under names that mean one, and values that show what they are.

Best effort by its nature, and meant to leave all else alone: ``pad_token`` and ``max_tokens`` are no secrets. Standard
library only, because it runs where the secrets are: they never leave the user's process.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

MASK: Final = "***"

# The last words of a name, once it is in snake case.
_NAMES: Final = re.compile(
    r"(?:^|_)(?:"
    r"api_?keys?|(?:secret|private|access|account|signing|encryption|ssh|auth)_?key(?:_id)?|"
    r"passwords?|passwd|passphrase|pwd|"
    r"secrets?|credentials?|authorization|"
    r"(?:access|auth|api|bearer|refresh|session|security|id|hf|hub|huggingface|github|gitlab|gh|wandb|runpod|mlflow|"
    r"pluto|flashtrial|slack|bot|openai|anthropic|aws|gcp|azure|secret|personal|service|login|deploy)_?token|"
    r"webhook_url|connection_string|cookies?"
    r")$"
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN: Final = re.compile(r"[^a-z0-9]+")
# A value under the bare name `token` is one when it looks like one: a word of a vocabulary does not.
_TOKEN_LIKE: Final = re.compile(r"(?=\S*\d)[\w.+/=-]{16,}")

_FORMATS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9_])(?:"
    r"hf_[A-Za-z0-9]{20,}"
    r"|sk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}"
    r"|gh[opsur]_[A-Za-z0-9]{30,}|github_pat_\w{22,}|glpat-[\w-]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|AIza[\w-]{35}"
    r"|rpa_[A-Za-z0-9]{30,}"
    r"|ft_[\w-]{40,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*"
    r")"
)
_BEARER: Final = re.compile(r"(?i)(?<![a-z0-9_])(bearer )[\w.~+/-]{16,}=*")
_CREDENTIALS: Final = re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+(?=@)")


def is_secret_name(name: str) -> bool:
    """Whether what stands under `name` is a secret by that name: ``hfToken``, ``OPENAI_API_KEY``, ``db/password``."""
    words = _BETWEEN.sub("_", _CAMEL.sub("_", name).lower())
    return _NAMES.search(words.rstrip("_")) is not None


def masked_text(text: str) -> str:
    """`text` with `MASK` in place of keys and tokens of known formats, and of passwords in addresses."""
    if "-" in text or "_" in text or "A" in text or "." in text:  # each of the formats has one of these
        text = _FORMATS.sub(MASK, text)
    if "://" in text:
        text = _CREDENTIALS.sub(rf"\1:{MASK}", text)
    return _BEARER.sub(rf"\1{MASK}", text) if "earer" in text or "EARER" in text else text


def masked_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `config`, JSON in and JSON out, in which no secret is left. Twice is the same as once.

    Under a secret's name texts, numbers, lists and maps become `MASK`; null, true and false say no secret and stay.
    """
    return {name: _masked_under(name, value) for name, value in config.items()}


def _masked_under(name: str, value: Any) -> Any:
    if is_secret_name(name):
        return value if value is None or isinstance(value, bool) or value in ("", [], {}) else MASK
    if name.lower() == "token" and isinstance(value, str) and _TOKEN_LIKE.fullmatch(value):
        return MASK
    return _masked(value)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return masked_config(value)
    if isinstance(value, Sequence):
        return [_masked(item) for item in value]
    return value
