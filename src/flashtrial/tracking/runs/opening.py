"""How `init` opens a run: what it was told is parsed, which run is meant is decided, the journal is opened, the parts
are started. In this order, so that a mistake of the caller's leaves nothing behind.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flashtrial.core.errors import ConfigurationError
from flashtrial.core.files import fill_standard_descriptors
from flashtrial.protocol.child import RunDefaults
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.capture.run_parts import parts_for
from flashtrial.tracking.journal.writer import JOINING, RunWriter
from flashtrial.tracking.runs.arguments import Fork, parse_config, parse_name, parse_tags
from flashtrial.tracking.runs.identity import Identity, Role, guest_mark
from flashtrial.tracking.runs.names import readable_name
from flashtrial.tracking.runs.reimports import OpenedRun, ReplayWriter, note_opened
from flashtrial.tracking.runs.run import Run, open_runs
from flashtrial.tracking.settings.resolution import EffectiveSettings

if TYPE_CHECKING:
    from flashtrial.protocol.records import JsonValue


@dataclass(frozen=True, slots=True)
class Said:
    """What the arguments of an `init` say of the run, parsed; None and empty where they leave it open."""

    project: str | None
    name: str | None
    config: "JsonValue"
    tags: tuple[str, ...]
    fork: Fork | None

    @classmethod
    def parse(
        cls,
        project: object,
        name: object,
        config: Mapping[str, Any] | None,
        tags: str | Iterable[str] | None,
        fork: Fork | None,
    ) -> "Said":
        """Raises `ConfigurationError`."""
        return cls(
            parse_name("project", project) if project else None,
            parse_name("name", name) if name else None,
            None if config is None else parse_config(config),
            tuple(parse_tags(tags or ())),
            fork,
        )


def open_run(said: Said, calls: RunDefaults, identity: Identity, settings: EffectiveSettings) -> Run:
    """The run that `identity` means, open in this process, its parts at work; `calls` is what the call that is under
    way says where `said` leaves it open. Raises `ConfigurationError`, `OutboxUnwritable` and `RecordTooLarge`.
    """
    if said.fork and not identity.is_new:
        raise ConfigurationError("a fork is a new run: give run_id or fork_run_id, or resume=False with both")
    name = _name(said, calls, identity)
    tags = settings.kept_tags(said.tags or (calls.tags if identity.is_new else ()))
    # Those of the opening would take the place of the parent's.
    is_late = bool(said.fork and said.fork.inherit_tags)
    project = settings.project if identity.is_new else said.project or calls.project
    opening = _opening(
        identity,
        project=project,
        name=name,
        config=settings.kept_config(said.config) or None,
        tags=None if is_late else [*tags] or None,
        fork=said.fork.to_value() if said.fork else None,
    )
    fill_standard_descriptors()
    writer = RunWriter(identity.run_id, settings, opening)
    writer.open()
    first_step = said.fork.next_step if said.fork else 0
    run = Run(writer, name or identity.run_id, tags, role=identity.role, first_step=first_step)
    open_runs.add(run)
    note_opened(OpenedRun(run.id, writer.opened_ms))
    run.masks.learn(settings.secrets_of(said.config))
    run.start_parts(parts_for(settings))
    late = tags if is_late else calls.tags if identity.is_callers and not said.tags else ()
    if late:
        run.add_tags(late)
    return run


def replay_run(opened: OpenedRun, said: Said, settings: EffectiveSettings) -> Run:
    """The parent's run, in a child that imports its program."""
    writer = ReplayWriter(opened.run_id, settings, JOINING, opened.opened_ms)
    run = Run(writer, said.name or opened.run_id, said.tags, role=Role.MEMBER)
    run.masks.learn(settings.secrets_of(said.config))
    open_runs.add(run, minds_signals=False)
    return run


def _name(said: Said, calls: RunDefaults, identity: Identity) -> str | None:
    name = said.name or (parse_name("name", calls.name) if calls.name else None)
    return name or (readable_name(identity.run_id) if identity.is_new else None)


def _opening(identity: Identity, **said: "JsonValue") -> dict[str, "JsonValue"]:
    """The body of the record that opens or joins the run."""
    every: dict[str, JsonValue] = {
        "status": RunStatus.RUNNING.value,
        **said,
        "host": os.uname().nodename if identity.is_new and identity.role is Role.OWNER else None,
        "resumed": identity.is_resumed or None,
        **guest_mark(identity.role),
    }
    return {key: value for key, value in every.items() if value is not None}
