"""Commands to an experiment and the receipts of its controller (docs/decisions/017). Standard library only.

The receipt is the commit point: a controller carries a command out once the server has taken its receipt, never before.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from flashtrial.protocol.records import JsonValue


class CommandKind(StrEnum):
    """What is to be done with a trial."""

    STOP = "stop"
    RESUME = "resume"
    CLONE_MODIFY = "clone-modify"
    DELETE = "delete"


class CommandState(StrEnum):
    """Where a command stands; from `pending` it moves once, and never again."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change it any more."""
        return self is not CommandState.PENDING


class Refusal(StrEnum):
    """Why a controller does not carry a command out: not in this state, not with this configuration, not at this
    version any more, or not known."""

    ILLEGAL = "illegal"
    INVALID = "invalid"
    STALE = "stale"
    UNKNOWN_TRIAL = "unknown_trial"


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody wants of one trial; two with the same id are the same.

    `seen_version` is the version of the trial that they saw, None where any will do. `config` is merged over that of
    the parent; with `warm_start` the clone starts from the parent's weights. `expires_ms` is by the server's clock.
    """

    id: str
    run_id: int
    kind: CommandKind
    expires_ms: int
    seen_version: int | None = None
    config: Mapping[str, JsonValue] | None = None
    warm_start: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The command as an inbox has it; what else stands there is passed over. Raises `ValueError`, `KeyError`."""
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        return cls(**{**known, "kind": CommandKind(fields["kind"])})


@dataclass(frozen=True, slots=True)
class Receipt:
    """The controller's answer to a command: it will be carried out, or `refusal` says why not and `reason` in words.

    `epoch` is the sender's. `new_run_id` is the clone's.
    """

    command_id: str
    epoch: int
    refusal: Refusal | None = None
    reason: str | None = None
    new_run_id: int | None = None

    @property
    def state(self) -> CommandState:
        """Where the command stands once this is taken."""
        return CommandState.DONE if self.refusal is None else CommandState.REFUSED

    def wire(self) -> dict[str, JsonValue]:
        """The body of a receipt."""
        return asdict(self)
