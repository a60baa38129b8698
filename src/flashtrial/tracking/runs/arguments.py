"""What users hand to `init` and to a run's methods, checked and made into what records hold."""

import operator
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from flashtrial.core.errors import ConfigurationError
from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.values import MAX_NAME_CHARS, plain, text


@runtime_checkable
class _NamedTuple(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


def parse_step(step: int) -> int:
    """`step` as an integer with a successor. Raises `TypeError` and `ValueError`."""
    if type(step) is not int:
        step = operator.index(step)
    if not -(2**63) <= step < 2**63 - 1:
        raise ValueError(f"step {step} does not fit 64 bits")
    return step


def parse_tags(tags: str | Iterable[str]) -> list[str]:
    """Tags without repetition, in order; one string is one tag. Raises `ConfigurationError`."""
    if not isinstance(tags, Iterable):
        raise ConfigurationError(f"tags are a text or a list of texts, not {tags!r:.80}")
    return list(dict.fromkeys(parse_name("tag", tag) for tag in ([tags] if isinstance(tags, str) else tags)))


def parse_config(config: object) -> JsonValue:
    """`config`, a map or an object with attributes (argparse's, a dataclass, a named tuple), as records hold it.

    Raises `ConfigurationError`.
    """
    if not isinstance(config, type):
        fields = plain(config._asdict() if isinstance(config, _NamedTuple) else config)
        if isinstance(fields, dict):
            return fields
        match config:
            case object(__dict__=dict(attributes)):
                return plain(attributes)
    raise ConfigurationError(f"config is a dict or an object with attributes, not {config!r:.80}")


def parse_fork(
    run_id: str | None, step: int | None, *, inherit_config: bool, inherit_tags: bool
) -> dict[str, JsonValue] | None:
    """What the opening record says of the run that this one is a fork of. Raises `ConfigurationError`."""
    if run_id is None:
        if step is not None:
            raise ConfigurationError("fork_step needs the fork_run_id of the run to fork")
        return None
    return {
        "run_id": parse_name("fork_run_id", run_id),
        "step": None if step is None else parse_step(step),
        "inherit_config": bool(inherit_config),
        "inherit_tags": bool(inherit_tags),
    }


def parse_name(what: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise ConfigurationError(f"{what} is a text of 1 to {MAX_NAME_CHARS} characters, not {value!r:.80}")
    return text(value)
