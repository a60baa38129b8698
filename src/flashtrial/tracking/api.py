"""What users call first: `init`, and the module-level calls that act on the newest run.

Standard library and ormsgpack only: this runs inside user processes.
"""

import itertools
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flashtrial.core.errors import ConfigurationError
from flashtrial.core.files import fill_standard_descriptors
from flashtrial.protocol.child import RunDefaults
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.capture.run_parts import parts_for
from flashtrial.tracking.journal.writer import JOINING, RunWriter
from flashtrial.tracking.runs.arguments import parse_config, parse_fork, parse_name, parse_tags
from flashtrial.tracking.runs.delivery import FinishReport
from flashtrial.tracking.runs.identity import Asked, Identity, Role, guest_mark, identify
from flashtrial.tracking.runs.in_calls import call_defaults, environment_in_call
from flashtrial.tracking.runs.names import readable_name
from flashtrial.tracking.runs.reimports import OpenedRun, ReplayWriter, is_importing_main, next_opened, note_opened
from flashtrial.tracking.runs.run import Run, open_runs
from flashtrial.tracking.settings.address import IN_THE_CLEAR, is_loopback
from flashtrial.tracking.settings.resolution import EffectiveSettings, Settings, SettingsLike, parse_settings, resolve

if TYPE_CHECKING:
    from datetime import timedelta

    from flashtrial.protocol.records import JsonValue
    from flashtrial.tracking.compat.torch_watch import Watching

logger = logging.getLogger(__name__)

_turns = itertools.count(1)
_warned: set[str] = set()  # addresses
_defaults = Settings()  # what `setup` was told


def setup(settings: SettingsLike = None, **more: Any) -> Settings:
    """Make `settings` (and keyword arguments of the same names) the defaults of every later `init` in this process.

    The environment and files count less, the settings of an `init` more. A second call replaces the first. Raises
    `ConfigurationError` for names that do not exist and values that cannot be.
    """
    global _defaults  # noqa: PLW0603 - the one thing that this process is set up with
    said = parse_settings(settings)
    _defaults = replace(said, **{name: value for name, value in _said(parse_settings(more)).items() if name in more})
    return _defaults


def init(  # noqa: PLR0917 - the order of the Pluto family, which scripts rely on
    project: str | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: str | Iterable[str] | None = None,
    settings: SettingsLike = None,
    run_id: str | None = None,
    resume: bool | None = None,
    *,
    fork_run_id: str | None = None,
    fork_step: int | None = None,
    inherit_config: bool = True,
    inherit_tags: bool = False,
) -> Run:
    """Open a run: a new one, or with `run_id` the one of that id, from whatever process or machine.

    Writes to the local disk and never waits for the network. Of a run that is opened again only what is given here is
    changed; ``resume=False`` makes `run_id` the id of a new run. A run that is opened again goes on in a new attempt,
    so its steps may begin wherever its checkpoint stands. With `fork_run_id` a new run starts as that one was at
    `fork_step` (default: its last), with its configuration and its tags as `inherit_config` and `inherit_tags` say; its
    steps count on from `fork_step` where that is given, else from 0.

    Whoever opens a run by `run_id` goes on with it, and its `finish` ends it: of several, the last one counts. In a
    distributed job only rank 0 does, or who says ``resume=True``: the other ranks are guests of the run, which they
    neither open again nor end. The ranks of a torchrun on one machine share a run without being told its id. Inside a
    call of a worker, what the call says of its run (`FunctionRequest.tracking`) holds where no `run_id` is given: its
    run is the caller's, of which this process is a guest, too. A program that a spawned child imports once more joins
    the run that its parent opened.

    Raises `ConfigurationError`, `OutboxUnwritable` and `RecordTooLarge`.
    """
    said = call_defaults() if run_id is None else RunDefaults()
    environment = environment_in_call()
    project = parse_name("project", project) if project else None
    effective = resolve(settings, environment, project=project, defaults=_defaults)
    _set_log_level(effective)
    _warn_of_readable_token(effective)
    opened = next_opened() if is_importing_main() else None
    if opened is not None:
        return _replayed(opened, effective, name or opened.run_id, parse_tags(tags or ()))
    turn = next(_turns) if run_id is None and effective.run_id is None else 0
    identity = identify(Asked(run_id, resume, effective.run_id, said.run_id, turn), environment)
    fork = parse_fork(fork_run_id, fork_step, inherit_config=inherit_config, inherit_tags=inherit_tags)
    if fork and not identity.is_new:
        raise ConfigurationError("a fork is a new run: give run_id or fork_run_id, or resume=False with both")
    name = name or said.name
    name = parse_name("name", name) if name else (readable_name(identity.run_id) if identity.is_new else None)
    own_tags = parse_tags(tags or (said.tags if identity.is_new else ()))
    late_tags = own_tags if fork and inherit_tags else []  # those of the opening would take the place of the parent's
    parsed = None if config is None else parse_config(config)
    opening = _opening(
        identity,
        project=effective.project if identity.is_new else project or said.project,
        name=name,
        config=parsed and (effective.kept_config(parsed) or None),
        tags=None if late_tags else [*own_tags] or None,
        fork=fork,
    )
    first_step = fork_step + 1 if fork and fork_step is not None else 0
    run = _opened(identity, effective, opening, name or identity.run_id, own_tags, first_step=first_step)
    run.masks.learn(effective.secrets_of(parsed))
    run.start_parts(parts_for(effective))
    if identity.is_callers and said.tags and not tags:
        late_tags = [*said.tags]
    if late_tags:
        run.add_tags(late_tags)
    return run


def log(data: Mapping[str, Any], step: int | None = None) -> None:
    """`Run.log` of the newest run that is open in this process. Raises `NoActiveRun`."""
    open_runs.newest().log(data, step)


def alert(
    title: str | None = None,
    text: str | None = None,
    level: str | int = "INFO",
    wait: "float | timedelta" = 0.0,
    **more: Any,
) -> bool:
    """`Run.alert` of the newest run that is open in this process. Raises `NoActiveRun`."""
    return open_runs.newest().alert(title, text, level, wait, **more)


def watch(model: Any, log: str | None = "gradients", log_freq: int = 1000, **more: Any) -> "Watching":
    """`Run.watch` of the newest run that is open in this process. Raises `NoActiveRun`."""
    return open_runs.newest().watch(model, log, log_freq, **more)


def finish(
    status: RunStatus | str | None = None,
    reason: str | None = None,
    *,
    timeout_s: float | None = None,
    wait: bool | None = None,
) -> FinishReport:
    """`Run.finish` of the newest run that is open in this process; when all are finished, what the last of them said.

    Raises `NoActiveRun` where none was opened.
    """
    return open_runs.newest(or_last=True).finish(status, reason, timeout_s=timeout_s, wait=wait)


def open_now() -> list[Run]:
    """What `flashtrial.ops` is: the runs that are open in this process, the oldest first."""
    return open_runs.all()


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


def _opened(
    identity: Identity,
    settings: EffectiveSettings,
    opening: Mapping[str, "JsonValue"],
    name: str,
    tags: Iterable[str],
    *,
    first_step: int,
) -> Run:
    """The run, on the disk, without its parts."""
    fill_standard_descriptors()
    writer = RunWriter(identity.run_id, settings, opening)
    writer.open()
    run = Run(writer, name, tags, role=identity.role, first_step=first_step)
    open_runs.add(run)
    note_opened(OpenedRun(run.id, writer.opened_ms))
    return run


def _replayed(opened: OpenedRun, settings: EffectiveSettings, name: str, tags: Iterable[str]) -> Run:
    """The parent's run, in a child that imports its program."""
    run = Run(ReplayWriter(opened.run_id, settings, JOINING, opened.opened_ms), name, tags, role=Role.MEMBER)
    open_runs.add(run, minds_signals=False)
    return run


def _said(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in Settings.__slots__}


def _warn_of_readable_token(settings: EffectiveSettings) -> None:
    """Once for each address: that the token which the user named for it can be read on the way."""
    url = settings.url
    if settings.token and url and url.startswith("http://") and not is_loopback(url) and url not in _warned:
        _warned.add(url)
        logger.warning(IN_THE_CLEAR, url, extra={"action": "token_in_the_clear"})


def _set_log_level(settings: EffectiveSettings) -> None:
    """Of our own logger only, and only where somebody asked for it."""
    if settings.log_level is not None:
        logging.getLogger("flashtrial").setLevel(settings.log_level)
