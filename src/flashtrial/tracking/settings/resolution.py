"""What the tracking client may be told, by whom, and who wins.

    arguments > settings object > `setup` > environment > the project's file > the home's file > defaults

Configuration only: nothing that is learnt at run time is put in here. Standard library only.
"""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.core.masking import masked_config, masked_text, secrets_of_config
from flashtrial.protocol.records import JsonValue
from flashtrial.tracking.settings.files import read_home_settings, read_project_settings
from flashtrial.tracking.settings.limits import OutboxLimits
from flashtrial.tracking.settings.names import (
    BY_NAME,
    DEFAULT_SYSTEM_INTERVAL_S,
    NEGATED,
    SETTINGS,
    WITHOUT_EFFECT,
    Scope,
    Setting,
)

DEFAULT_PROJECT = "default"
DEFAULT_BACKENDS = ("native",)
DEFAULT_HOME = "~/.flashtrial"
DEFAULT_FINISH_TIMEOUT_S = 30.0

_OURS = "FLASHTRIAL_"
_OUT_OF_USE = "MLOP_"
_PACKAGE = f"{Path(__file__).parent.parent.parent}/"

Values: TypeAlias = dict[str, Any]  # what one speaker says, parsed, by the name of the setting


class Courier(StrEnum):
    """Who brings the records of a run from the disk to the server."""

    PROCESS = "process"
    THREAD = "thread"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user says about tracking; None leaves it to whoever is asked next. `setting_names` says what each means.

    `home` is where state lives, `outbox` where journals are written (default: in `home`). With `sync_process_enabled`
    false a thread of this process sends the records, as long as the process lives; the rest waits on the disk for the
    next one. `finish` waits at most `finish_timeout_s` seconds.

    `console` says whether what the process prints becomes records (default: where that is safe, see
    ``docs/decisions/012-console.md``), `system_monitor` whether the machine is watched, every `system_interval_s`
    seconds, and `facts` whether commit, packages, command line and host are noted once. With `mask_secrets` values of
    configurations that are secrets by their name or format are ``***`` before they are written, see `core.masking`.

    `backends` names the destinations (``native`` is flashtrial's own server). A journal goes on in a new file after
    `segment_bytes`; all journals together take at most `outbox_bytes`, and `when_full` (``drop``, ``block``, ``raise``)
    says what then becomes of new records, see `WhenFull`.
    """

    project: str | None = None
    run_id: str | None = None
    url: str | None = None
    host: str | None = None
    token: str | None = field(default=None, repr=False)
    home: str | Path | None = None
    outbox: str | Path | None = None
    backends: str | Sequence[str] | None = None
    sync_process_enabled: bool | None = None
    finish_timeout_s: float | None = None
    outbox_bytes: int | None = None
    segment_bytes: int | None = None
    when_full: str | None = None
    log_level: str | int | None = None
    console: bool | None = None
    system_monitor: bool | None = None
    system_interval_s: float | None = None
    facts: bool | None = None
    mask_secrets: bool | None = None


SettingsLike: TypeAlias = Settings | Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSettings:
    """What holds for one run. In a worker's child (`worker_id`) the worker is the courier, and nobody waits for it.

    `console` None leaves it to the process, which knows whether it is a notebook's or a test's, and `log_level` None to
    whoever set up logging. `is_wait_chosen`: somebody named `finish_timeout_s`.
    """

    project: str
    url: str | None
    token: str | None = field(repr=False)
    home: Path
    outbox: Path
    courier: Courier
    finish_timeout_s: float
    worker_id: str | None
    run_id: str | None = None
    is_wait_chosen: bool = False
    console: bool | None = None
    system_monitor: bool = True
    system_interval_s: float = DEFAULT_SYSTEM_INTERVAL_S
    facts: bool = True
    mask_secrets: bool = True
    backends: tuple[str, ...] = DEFAULT_BACKENDS
    limits: OutboxLimits = field(default_factory=OutboxLimits)
    log_level: str | None = None

    def kept_config(self, config: JsonValue) -> JsonValue:
        """What of a configuration may be written down: all of it but its secrets."""
        return masked_config(config) if self.mask_secrets and isinstance(config, dict) else config

    def kept_tags(self, tags: Iterable[str]) -> list[str]:
        """What of tags may be written down: each once, keys and tokens of known formats masked."""
        return list(dict.fromkeys(map(masked_text, tags) if self.mask_secrets else tags))

    def secrets_of(self, config: JsonValue) -> set[str]:
        """What is left out of it, and is not to stand in lines, reasons and alerts either."""
        return secrets_of_config(config) if self.mask_secrets and isinstance(config, dict) else set()

    def sync_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """`environment` for the sync process that these settings ask for."""
        said = {env.HOME: str(self.home), env.URL: self.url, env.TOKEN: self.token}
        return {**environment, **{name: value for name, value in said.items() if value}}


def parse_settings(said: SettingsLike) -> Settings:
    """`said` as a `Settings`, Pluto's names included. Raises `ConfigurationError` for names that do not exist, with the
    nearest that does, and for values that cannot be."""
    return Settings(**_parsed(as_mapping(said), ""))


def resolve(
    said: SettingsLike,
    environment: Mapping[str, str],
    *,
    project: str | None = None,
    defaults: SettingsLike = None,
    directory: Path | None = None,
) -> EffectiveSettings:
    """What holds, given the arguments (`project`), the settings object, those of `setup` (`defaults`), the environment
    and the files: the home's, and that of the project at `directory` (default: the working directory).

    Raises `ConfigurationError`.
    """
    values = {
        **_from_environment(environment),
        **_with_url(_parsed(as_mapping(defaults), "")),
        **_with_url(_parsed(as_mapping(said), "")),
        **({"project": project} if project else {}),
    }
    home = values.get("home") or _home()
    values = {**_from_files(home, directory or _working_directory()), **values}
    worker_id = environment.get(env.WORKER_ID) or None
    courier = _courier(worker_id, wants_process=values.get("sync_process_enabled", True))
    limits = OutboxLimits(
        **{name: values[name] for name in ("outbox_bytes", "segment_bytes", "when_full") if name in values}
    )
    default_wait_s = 0.0 if courier is Courier.WORKER else DEFAULT_FINISH_TIMEOUT_S
    return EffectiveSettings(
        project=values.get("project", DEFAULT_PROJECT),
        url=values.get("url"),
        token=values.get("token"),
        home=home,
        outbox=values.get("outbox") or home / "outbox",
        courier=courier,
        finish_timeout_s=values.get("finish_timeout_s", default_wait_s),
        is_wait_chosen="finish_timeout_s" in values,
        worker_id=worker_id,
        limits=limits,
        **_chosen(
            values,
            "run_id",
            "console",
            "system_monitor",
            "system_interval_s",
            "facts",
            "mask_secrets",
            "backends",
            "log_level",
        ),
    )


def _chosen(values: Values, *names: str) -> Values:
    return {name: values[name] for name in names if name in values}


def as_mapping(said: SettingsLike) -> Mapping[str, Any]:
    """What `said` says, by name; nothing of what it leaves open. Raises `ConfigurationError`."""
    if isinstance(said, Settings):
        every = {entry.name: getattr(said, entry.name) for entry in fields(said)}
        return {name: value for name, value in every.items() if value is not None}
    if not isinstance(said, Mapping | None):
        raise ConfigurationError(f"settings are a Settings or a dict, not {said!r:.80}")
    return said or {}


def _parsed(said: Mapping[str, Any], where: str, allowed: frozenset[Scope] = frozenset(Scope)) -> Values:
    """What `said` says, by our names; `where` says whose words they are. Raises `ConfigurationError`."""
    values: Values = {}
    for name, value in said.items():
        if name in WITHOUT_EFFECT or value is None:
            continue
        setting = BY_NAME.get(NEGATED.get(name, name))
        if setting is None:
            raise ConfigurationError(_no_such(name, where))
        if setting.scope not in allowed:
            instead = f": set {setting.variables[0]}" if setting.variables else ""
            raise ConfigurationError(f"{where}{name} may stand {setting.scope.value}{instead}")
        parsed = setting.parse(f"{where}{name}", value)
        values[setting.name] = not parsed if name in NEGATED else parsed
    return values


def _no_such(name: str, where: str) -> str:
    import difflib  # noqa: PLC0415 - for those who mistype

    known = [setting.name for setting in SETTINGS]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{where}no such setting: {name}{hint}; there are {', '.join(known)}"


def _from_environment(environment: Mapping[str, str]) -> Values:
    """What the variables say. Raises `ConfigurationError` for ours; those of other products count where they can."""
    values: Values = {}
    for setting in SETTINGS:
        for variable, value in _said(setting, environment):
            if variable.startswith(_OURS):
                values[setting.name] = setting.from_variable(variable, value)
                break
            try:
                values[setting.name] = setting.from_variable(variable, value)
            except ConfigurationError:
                continue
            if variable.startswith(_OUT_OF_USE):
                _warn_of(variable, setting.variables[0])
            break
    return values


def _said(setting: Setting, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for variable in setting.variables:
        value = environment.get(variable)
        if value:
            yield variable, value


def _warn_of(variable: str, instead: str) -> None:
    """At the line of the user's program that led here."""
    level, frame = 1, sys._getframe()  # noqa: SLF001 - as `warnings` does; `skip_file_prefixes` is 3.12's
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{variable} is out of use: set {instead}", DeprecationWarning, stacklevel=level)


def _from_files(home: Path, directory: Path) -> Values:
    of_home, said_by_home = read_home_settings(home)
    of_project, said_by_project = read_project_settings(directory)
    return {
        **_with_url(_parsed(said_by_home, f"{of_home}: ", frozenset({Scope.ANYWHERE, Scope.MACHINE}))),
        **_parsed(said_by_project, f"{of_project}: ", frozenset({Scope.ANYWHERE})),
    }


def _with_url(values: Values) -> Values:
    """A host is a way of naming the address."""
    host = values.pop("host", None)
    return {"url": host, **values} if host else values


def _courier(worker_id: str | None, *, wants_process: bool) -> Courier:
    if worker_id:
        return Courier.WORKER
    return Courier.PROCESS if wants_process else Courier.THREAD


def _home() -> Path:
    return Path(BY_NAME["home"].parse("home", DEFAULT_HOME))


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed under the program's feet
        return Path("/")
