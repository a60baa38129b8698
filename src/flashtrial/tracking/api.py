"""What users call first: `init`, and the module-level calls that act on the newest run.

Standard library and ormsgpack only: this runs inside user processes.
"""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flashtrial.core.errors import ConfigurationError
from flashtrial.core.ids import new_id
from flashtrial.protocol.child import RunDefaults
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.arguments import parse_config, parse_name, parse_tags
from flashtrial.tracking.delivery import FinishReport
from flashtrial.tracking.in_calls import call_defaults, environment_in_call
from flashtrial.tracking.names import readable_name
from flashtrial.tracking.parts import parts_for
from flashtrial.tracking.ranks import rank_of
from flashtrial.tracking.run import Role, Run, guest_mark, open_runs
from flashtrial.tracking.settings import SettingsLike, resolve
from flashtrial.tracking.writer import RunWriter

if TYPE_CHECKING:
    from flashtrial.protocol.records import JsonValue


def init(  # noqa: PLR0917 - the order of the Pluto family, which scripts rely on
    project: str | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: str | Iterable[str] | None = None,
    settings: SettingsLike = None,
    run_id: str | None = None,
    resume: bool | None = None,
) -> Run:
    """Open a run: a new one, or with `run_id` the one of that id, from whatever process or machine.

    Writes to the local disk and never waits for the network. Of a run that is opened again only what is given here is
    changed; ``resume=False`` makes `run_id` the id of a new run.

    Whoever opens a run by `run_id` goes on with it, and its `finish` ends it: of several, the last one counts. In a
    distributed job only rank 0 does, or who says ``resume=True``: the other ranks are guests of the run, which they
    neither open again nor end. Inside a call of a worker, what the call says of its run (`FunctionRequest.tracking`)
    holds where no `run_id` is given: its run is the caller's, of which this process is a guest, too.

    Raises `ConfigurationError`, `OutboxUnwritable` and `RecordTooLarge`.
    """
    said = call_defaults() if run_id is None else RunDefaults()
    is_callers = said.run_id is not None and resume is not False
    run_id, name = said.run_id if is_callers else run_id, name or said.name
    if resume and not run_id:
        raise ConfigurationError("resume needs the run_id of the run to go on with")
    environment = environment_in_call()
    effective = resolve(settings, environment, project=project and parse_name("project", project))
    is_new = run_id is None or resume is False
    is_others = is_callers or rank_of(environment) > 0
    role = Role.GUEST if not is_new and resume is None and is_others else Role.OWNER
    identity = new_id("run") if run_id is None else parse_name("run_id", run_id)
    name = parse_name("name", name) if name else (readable_name(identity) if is_new else None)
    own_tags = parse_tags(tags or (said.tags if is_new else ()))
    opening: dict[str, JsonValue] = {
        "status": RunStatus.RUNNING.value,
        "project": effective.project if is_new else project or said.project,
        "name": name,
        "config": (parse_config(config) or None) if config is not None else None,
        "tags": [*own_tags] or None,
        "host": os.uname().nodename if is_new else None,
        **guest_mark(role),
    }
    writer = RunWriter(identity, effective, {key: value for key, value in opening.items() if value is not None})
    writer.open()
    run = Run(writer, name or identity, own_tags, role=role)
    open_runs.add(run)
    if is_callers and said.tags and not tags:
        run.add_tags(said.tags)
    run.start_parts(parts_for(effective))
    return run


def log(data: Mapping[str, Any], step: int | None = None) -> None:
    """`Run.log` of the newest run that is open in this process. Raises `NoActiveRun`."""
    open_runs.newest().log(data, step)


def finish(
    status: RunStatus | str | None = None,
    reason: str | None = None,
    *,
    timeout_s: float | None = None,
    wait: bool | None = None,
) -> FinishReport:
    """`Run.finish` of the newest run that is open in this process. Raises `NoActiveRun`."""
    return open_runs.newest().finish(status, reason, timeout_s=timeout_s, wait=wait)
