"""Which run an `init` means, and what this process is to it. Decides only; nothing is opened here."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from flashtrial.core.errors import ConfigurationError
from flashtrial.core.ids import new_id
from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.runs.arguments import parse_name
from flashtrial.tracking.settings.ranks import rank_of, shared_launch, was_restarted

logger = logging.getLogger(__name__)


class Role(StrEnum):
    """What a process is to a run.

    An owner opened it and ends it. A guest is a rank above 0, or a worker's call: it ends nothing, but that it failed
    is a failure of the run. A member got the run by fork, by pickling, or by importing its program once more, and its
    end says nothing of the run's.
    """

    OWNER = "owner"
    GUEST = "guest"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Identity:
    """A run's id and this process's part in it.

    `is_new`: what opens here is told all about the run; else only what the user gives. `is_resumed`: it goes on with
    what was opened before. `is_callers`: it is the run of the call that is under way in this worker.
    """

    run_id: str
    role: Role = Role.OWNER
    is_new: bool = False
    is_resumed: bool = False
    is_callers: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What an `init` was told: by its arguments, by the settings (`settled`), by the call that is under way.

    `turn` counts the runs of this process that nobody named, from 1.
    """

    run_id: str | None
    resume: bool | None
    settled: str | None = None
    callers: str | None = None
    turn: int = 1


def identify(asked: Asked, environment: Mapping[str, str]) -> Identity:
    """The run that is meant. Raises `ConfigurationError`.

    By id: rank 0, and who says ``resume=True``, goes on with it; other ranks are guests. Without one: a new run, which
    the ranks of one torchrun on one machine share.
    """
    if asked.run_id is None and asked.callers is not None and asked.resume is not False:
        role = Role.OWNER if asked.resume else Role.GUEST
        return Identity(parse_name("run_id", asked.callers), role, is_resumed=bool(asked.resume), is_callers=True)
    run_id = asked.settled if asked.run_id is None else asked.run_id
    if run_id is None:
        if asked.resume:
            raise ConfigurationError("resume needs the run_id of the run to go on with")
        return _unnamed(environment, asked.turn)
    run_id = parse_name("run_id", run_id)
    if asked.resume is False:
        return Identity(run_id, is_new=True)
    if asked.resume is None and rank_of(environment) > 0:
        return Identity(run_id, Role.GUEST, is_new=asked.run_id is None)
    return Identity(run_id, is_new=asked.run_id is None, is_resumed=True)


def _unnamed(environment: Mapping[str, str], turn: int) -> Identity:
    rank = rank_of(environment)
    launch = shared_launch(environment)
    if launch is None:
        if rank:
            logger.warning(
                "rank %d opens a run of its own: set FLASHTRIAL_RUN_ID to the same text for all ranks",
                rank,
                extra={"action": "rank_alone"},
            )
        return Identity(new_id("run"), is_new=True)
    role = Role.GUEST if rank else Role.OWNER
    return Identity(f"run_{launch}{turn}", role, is_new=True, is_resumed=was_restarted(environment) and not rank)


def guest_mark(role: Role) -> dict[str, JsonValue]:
    """What a guest's state records say beside the state."""
    return {"guest": True} if role is Role.GUEST else {}
