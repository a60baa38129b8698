"""Secrets taken out of what is kept: values under names that mean one, and values that show what they are.

Best effort by its nature, and meant to leave all else alone: ``pad_token`` and ``max_tokens`` are no secrets. Standard
library only, because it runs where the secrets are: they never leave the user's process.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

MASK: Final = "***"
SHORTEST_SECRET: Final = 8  # shorter values stand in too many innocent words

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
_BASE64_KEY: Final = re.compile(r"(?=.*\d)(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9+/]{40,}={0,2}")

# No look ahead from within a word is long: one of a megabyte may begin a format at each of its dashes.
_FORMATS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9_])(?:"
    r"hf_[A-Za-z0-9]{20,}"
    r"|sk-(?=[A-Za-z_-]{0,64}\d)[A-Za-z0-9_-]{20,}"
    r"|gh[opsur]_[A-Za-z0-9]{30,}|github_pat_\w{22,}|glpat-[\w-]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|AIza[\w-]{35}"
    r"|rpa_[A-Za-z0-9]{30,}"
    r"|ft_[\w-]{40,}"
    r"|(?:(?<!-)eyJ[\w-]{10,}|eyJ[\w-]{10,256})\.eyJ[\w-]{10,}\.[\w-]*"
    r")"
)
_BEARER: Final = re.compile(r"(?i)(?<![a-z0-9_])(bearer )[\w.~+/-]{16,}=*")
_CREDENTIALS: Final = re.compile(r"(?<=://)([^\s/@:]*):[^\s/]+(?=@)")
_IN_QUERY: Final = re.compile(r"(?<=[?&])([\w.-]+)=([^\s&#\"']+)")
_HINT: Final = re.compile(r"(?i)key|token|pass|pwd|secret|credential|authorization|cookie|webhook|connection")
# A name and what it is given, in quotes: of Python, JSON, YAML, shells. Each word is begun once, however long it is.
_GIVEN: Final = re.compile(
    r"""(?<![\w.-])(-{0,2}[A-Za-z_][\w.-]*)(["']?\s{0,8}[:=]\s{0,8}[bru]?(["']))((?:(?!\3)[^\\\n]|\\.)+)(?=\3)"""
)

# Of variables; the last words of their names that say more than those of a configuration's, where `sort_key` is none.
_VARIABLES: Final = ("TOKEN", "KEY", "SECRET", "PASSWORD")


def is_secret_name(name: str) -> bool:
    """Whether what stands under `name` is a secret by that name: ``hfToken``, ``OPENAI_API_KEY``, ``db/password``."""
    words = _BETWEEN.sub("_", _CAMEL.sub("_", name).lower())
    return _NAMES.search(words.rstrip("_")) is not None


def masked_text(text: str) -> str:
    """`text` with `MASK` in place of keys and tokens of known formats, of passwords in addresses, and of what stands in
    quotes after a secret's name."""
    if "-" in text or "_" in text or "A" in text or "." in text:  # each of the formats has one of these
        text = _FORMATS.sub(MASK, text)
    if "://" in text:
        text = _CREDENTIALS.sub(rf"\1:{MASK}", text)
    if _HINT.search(text):  # of most lines no more is asked
        text = _IN_QUERY.sub(_masked_query, text)
        text = _GIVEN.sub(_masked_given, text)
    return _BEARER.sub(rf"\1{MASK}", text) if "earer" in text or "EARER" in text else text


def without(text: str, secrets: Iterable[str]) -> str:
    """`text` with `MASK` in place of each of `secrets`, of which none that begins another may come before it."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def secrets_of_environment(environment: Mapping[str, str]) -> set[str]:
    """The values of variables that are secrets by their name; of one of several lines each line, too."""
    named = (value for name, value in environment.items() if _is_secret_variable(name, value))
    return {part for value in named for part in _parts(value)}


def secrets_of_config(config: Mapping[str, Any]) -> set[str]:
    """The texts that `masked_config` masks because of the names that they stand under."""
    return {part for value in _hidden_texts(config) for part in _parts(value)}


def longest_first(secrets: Iterable[str]) -> list[str]:
    """For `without`: one secret may be the beginning of another."""
    return sorted(secrets, key=len, reverse=True)


def masked_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `config`, JSON in and JSON out, in which no secret is left. Twice is the same as once.

    Under a secret's name texts, numbers, lists and maps become `MASK`; null, true and false say no secret and stay.
    """
    return {name: _masked_under(name, value) for name, value in config.items()}


def _masked_under(name: str, value: Any) -> Any:
    if is_secret_name(name):
        return value if value is None or isinstance(value, bool) or value in ("", [], {}) else MASK
    return MASK if _is_bare_token(name, value) else _masked(value)


def _is_bare_token(name: str, value: Any) -> bool:
    return name.lower() == "token" and isinstance(value, str) and _TOKEN_LIKE.fullmatch(value) is not None


def _is_secret_variable(name: str, value: str) -> bool:
    if name.upper().endswith(_VARIABLES):
        return True
    # PWD is a directory, and what says where a secret lies is none
    return name != "PWD" and is_secret_name(name) and not _is_path(value)


def _is_path(value: str) -> bool:
    """Whether it says where a secret lies; a key in base 64 may begin like a path."""
    return value.startswith(("/", "~")) and _BASE64_KEY.fullmatch(value) is None


def _parts(value: str) -> Iterator[str]:
    """`value` and its lines, as far as they are long enough to be told from other words."""
    return (part for part in {value, *map(str.strip, value.splitlines())} if len(part) >= SHORTEST_SECRET)


def _hidden_texts(value: Any, *, is_hidden: bool = False) -> Iterator[str]:
    if isinstance(value, str):
        if is_hidden and value.strip("*") and not _is_path(value):
            yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            is_secret = is_hidden or is_secret_name(name) or _is_bare_token(name, inner)
            yield from _hidden_texts(inner, is_hidden=is_secret)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _hidden_texts(inner, is_hidden=is_hidden)


def _masked_given(found: re.Match[str]) -> str:
    name, between, _quote, value = found.groups()
    is_secret = is_secret_name(name) or _is_bare_token(name.lstrip("-"), value)
    return f"{name}{between}{MASK if is_secret else value}"


def _masked_query(found: re.Match[str]) -> str:
    name, value = found.groups()
    return f"{name}={MASK if is_secret_name(name) or name.lower() == 'token' else value}"


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return masked_config(value)
    if isinstance(value, Sequence):
        return [_masked(item) for item in value]
    return value
