"""What users hand to `init` and to a run's methods, checked and made into what records hold."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from flashtrial.core.errors import ConfigurationError
from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.values import MAX_NAME_CHARS, plain, text

_RESUME: Final[Mapping[str, bool | None]] = {"allow": None, "auto": None, "must": True, "never": False}


@runtime_checkable
class _NamedTuple(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


def parse_step(step: int) -> int:
    """`step` as an integer with a successor; a float that is whole is one. Raises `TypeError` and `ValueError`."""
    if type(step) is not int:
        step = _whole(step)
    if not -(2**63) <= step < 2**63 - 1:
        raise ValueError(f"step {step} does not fit 64 bits")
    return step


def _whole(step: object) -> int:
    if isinstance(step, float) and step.is_integer():
        return int(step)
    try:
        return operator.index(step)  # type: ignore[arg-type]  # whatever a user gives
    except TypeError as error:
        raise TypeError(
            f"step is a whole number, not {step!r:.80}: log a fraction, as of an epoch, as a value"
        ) from error


def parse_resume(said: bool | str | None) -> bool | None:
    """Whether a run goes on: true, false, or as it comes (None). wandb's words are known. Raises `ConfigurationError`.

    Nobody is asked whether there is such a run: ``must`` makes one where there is none, ``never`` a new attempt of one
    that there is.
    """
    if said is None or isinstance(said, bool):
        return said
    if said not in [*_RESUME]:
        raise ConfigurationError(f"resume is true, false, or one of {', '.join(_RESUME)}, not {said!r:.80}")
    return _RESUME[said]


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


@dataclass(frozen=True, slots=True)
class Fork:
    """Of which run, from which step on (None: its last), and with what of it."""

    run_id: str
    step: int | None
    inherit_config: bool
    inherit_tags: bool

    @property
    def next_step(self) -> int:
        """Where the fork's own steps begin."""
        return 0 if self.step is None else self.step + 1

    def to_value(self) -> dict[str, JsonValue]:
        """What stands in the opening record."""
        said: dict[str, JsonValue] = {"run_id": self.run_id, "step": self.step}
        return {**said, "inherit_config": self.inherit_config, "inherit_tags": self.inherit_tags}


def parse_fork(run_id: str | None, step: int | None, *, inherit_config: bool, inherit_tags: bool) -> Fork | None:
    """The fork that is asked for, if one is. Raises `ConfigurationError`, and `TypeError` for a step that is none."""
    if run_id is None:
        if step is not None:
            raise ConfigurationError("fork_step needs the fork_run_id of the run to fork")
        return None
    known = parse_name("fork_run_id", run_id)
    return Fork(known, None if step is None else parse_step(step), bool(inherit_config), bool(inherit_tags))


def parse_name(what: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise ConfigurationError(f"{what} is a text of 1 to {MAX_NAME_CHARS} characters, not {value!r:.80}")
    return text(value)
