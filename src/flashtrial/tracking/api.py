"""What users call first: `init`, and the module-level calls that act on the newest run.

Standard library and ormsgpack only: this runs inside user processes.
"""

import itertools
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flashtrial.protocol.child import RunDefaults
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.runs.arguments import parse_fork, parse_resume
from flashtrial.tracking.runs.delivery import FinishReport
from flashtrial.tracking.runs.identity import Asked, identify
from flashtrial.tracking.runs.in_calls import call_defaults, environment_in_call
from flashtrial.tracking.runs.opening import Said, open_run, replay_run
from flashtrial.tracking.runs.reimports import is_importing_main, next_opened
from flashtrial.tracking.runs.run import Run, open_runs
from flashtrial.tracking.settings.address import IN_THE_CLEAR, is_loopback
from flashtrial.tracking.settings.resolution import EffectiveSettings, Settings, SettingsLike, parse_settings, resolve

if TYPE_CHECKING:
    from datetime import timedelta

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
    resume: bool | str | None = None,
    *,
    fork_run_id: str | None = None,
    fork_step: int | None = None,
    inherit_config: bool = True,
    inherit_tags: bool = False,
) -> Run:
    """Open a run: a new one, or with `run_id` the one of that id, from whatever process or machine.

    Writes to the local disk and never waits for the network. Of a run that is opened again only what is given here is
    changed; ``resume=False`` makes `run_id` the id of a new run, and wandb's words for `resume` are known
    (`parse_resume`). A run that is opened again goes on in a new attempt, so its steps may begin wherever its
    checkpoint stands. With `fork_run_id` a new run starts as that one was at `fork_step` (default: its last), with its
    configuration and its tags as `inherit_config` and `inherit_tags` say; its steps count on from `fork_step` where
    that is given, else from 0.

    Whoever opens a run by `run_id` goes on with it, and its `finish` ends it: of several, the last one counts. In a
    distributed job only rank 0 does, or who says ``resume=True``: the other ranks are guests of the run, which they
    neither open again nor end. The ranks of a torchrun on one machine share a run without being told its id. Inside a
    call of a worker, what the call says of its run (`FunctionRequest.tracking`) holds where no `run_id` is given: its
    run is the caller's, of which this process is a guest, too. A program that a spawned child imports once more joins
    the run that its parent opened.

    Raises `ConfigurationError`, `OutboxUnwritable` and `RecordTooLarge`.
    """
    fork = parse_fork(fork_run_id, fork_step, inherit_config=inherit_config, inherit_tags=inherit_tags)
    said = Said.parse(project, name, config, tags, fork)
    calls = call_defaults() if run_id is None else RunDefaults()
    environment = environment_in_call()
    effective = resolve(settings, environment, project=said.project, defaults=_defaults)
    _set_log_level(effective)
    _warn_of_readable_token(effective)
    opened = next_opened() if is_importing_main() else None
    if opened is not None:
        return replay_run(opened, said, effective)
    turn = next(_turns) if run_id is None and effective.run_id is None else 0
    asked = Asked(run_id, parse_resume(resume), effective.run_id, calls.run_id, turn)
    return open_run(said, calls, identify(asked, environment), effective)


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
