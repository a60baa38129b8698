"""What the tracking client may be told, by whom, and who wins: arguments > settings object > environment > defaults.

Configuration only: nothing that is learnt at run time is put in here. Standard library only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.address import host_of
from flashtrial.tracking.limits import OUTBOX_BYTES, SEGMENT_BYTES, WHEN_FULL, OutboxLimits, limits_from

T = TypeVar("T")

SYNC_PROCESS_ENABLED = "FLASHTRIAL_SYNC_PROCESS_ENABLED"
FINISH_TIMEOUT_S = "FLASHTRIAL_FINISH_TIMEOUT_S"
CONSOLE = "FLASHTRIAL_CONSOLE"
SYSTEM_MONITOR = "FLASHTRIAL_SYSTEM_MONITOR"
SYSTEM_INTERVAL_S = "FLASHTRIAL_SYSTEM_INTERVAL_S"
FACTS = "FLASHTRIAL_FACTS"

DEFAULT_PROJECT = "default"
DEFAULT_BACKENDS = ("native",)
DEFAULT_HOME = "~/.flashtrial"
DEFAULT_FINISH_TIMEOUT_S = 30.0
DEFAULT_SYSTEM_INTERVAL_S = 10.0
MIN_SYSTEM_INTERVAL_S = 0.05

_FLAGS = ("sync_process_enabled", "console", "system_monitor", "facts")
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Courier(StrEnum):
    """Who brings the records of a run from the disk to the server."""

    PROCESS = "process"
    THREAD = "thread"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user says about tracking; None leaves it to the environment and the defaults.

    `home` is where state lives, `outbox` where journals are written (default: in `home`). With `sync_process_enabled`
    false a thread of this process sends the records, as long as the process lives; the rest waits on the disk for the
    next one. `finish` waits at most `finish_timeout_s` seconds.

    `console` says whether what the process prints becomes records (default: where that is safe, see
    ``docs/decisions/012-console.md``), `system_monitor` whether the machine is watched, every `system_interval_s`
    seconds, and `facts` whether commit, packages, command line and host are noted once.
    """

    project: str | None = None
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    home: str | Path | None = None
    outbox: str | Path | None = None
    sync_process_enabled: bool | None = None
    finish_timeout_s: float | None = None
    console: bool | None = None
    system_monitor: bool | None = None
    system_interval_s: float | None = None
    facts: bool | None = None
    backends: str | Sequence[str] | None = None
    segment_bytes: int | None = None
    outbox_bytes: int | None = None
    when_full: str | None = None


SettingsLike: TypeAlias = Settings | Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSettings:
    """What holds for one run. In a worker's child (`worker_id`) the worker is the courier, and nobody waits for it.

    `console` None leaves it to the process, which knows whether it is a notebook's or a test's.
    """

    project: str
    url: str | None
    token: str | None = field(repr=False)
    home: Path
    outbox: Path
    courier: Courier
    finish_timeout_s: float
    worker_id: str | None
    console: bool | None = None
    system_monitor: bool = True
    system_interval_s: float = DEFAULT_SYSTEM_INTERVAL_S
    facts: bool = True
    backends: tuple[str, ...] = DEFAULT_BACKENDS
    limits: OutboxLimits = field(default_factory=OutboxLimits)

    def sync_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """`environment` for the sync process that these settings ask for."""
        said = {env.HOME: str(self.home), env.URL: self.url, env.TOKEN: self.token}
        return {**environment, **{name: value for name, value in said.items() if value}}


def parse_settings(said: SettingsLike) -> Settings:
    """`said` as a `Settings`. Raises `ConfigurationError` for names that do not exist and values that cannot be."""
    settings = said if isinstance(said, Settings) else _from_mapping(said or {})
    for name in _FLAGS:
        if getattr(settings, name) not in (None, True, False):
            raise ConfigurationError(f"{name} is true or false, not {getattr(settings, name)!r}")
    if settings.finish_timeout_s is not None:
        _seconds("finish_timeout_s", settings.finish_timeout_s)
    if settings.system_interval_s is not None:
        _interval("system_interval_s", settings.system_interval_s)
    return settings


def resolve(said: SettingsLike, environment: Mapping[str, str], *, project: str | None = None) -> EffectiveSettings:
    """What holds, given the arguments (`project`), the settings object and the environment.

    Raises `ConfigurationError`.
    """
    settings = parse_settings(said)
    home = _directory(settings.home or environment.get(env.HOME) or DEFAULT_HOME)
    outbox = settings.outbox or environment.get(env.OUTBOX)
    worker_id = environment.get(env.WORKER_ID) or None
    wants_process = _first(settings.sync_process_enabled, _boolean(environment, SYNC_PROCESS_ENABLED), True)
    courier = Courier.WORKER if worker_id else Courier.PROCESS if wants_process else Courier.THREAD
    default_wait_s = 0.0 if courier is Courier.WORKER else DEFAULT_FINISH_TIMEOUT_S
    return EffectiveSettings(
        project=project or settings.project or environment.get(env.PROJECT) or DEFAULT_PROJECT,
        url=_url(settings.url or environment.get(env.URL)),
        token=settings.token or environment.get(env.TOKEN) or None,
        home=home,
        outbox=_directory(outbox) if outbox else home / "outbox",
        courier=courier,
        finish_timeout_s=_first(settings.finish_timeout_s, _environment_seconds(environment), default_wait_s),
        worker_id=worker_id,
        console=settings.console if settings.console is not None else _boolean(environment, CONSOLE),
        system_monitor=_first(settings.system_monitor, _boolean(environment, SYSTEM_MONITOR), True),
        system_interval_s=_first(
            settings.system_interval_s, _environment_interval(environment), DEFAULT_SYSTEM_INTERVAL_S
        ),
        facts=_first(settings.facts, _boolean(environment, FACTS), True),
        backends=_backends(settings.backends or environment.get(env.BACKENDS)) or DEFAULT_BACKENDS,
        limits=limits_from({**environment, **_said_limits(settings)}),
    )


def _backends(said: str | Sequence[str] | None) -> tuple[str, ...]:
    names = said.split(",") if isinstance(said, str) else said or ()
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _said_limits(settings: Settings) -> dict[str, str]:
    """What the settings object says of limits, as the variables say it."""
    said = {SEGMENT_BYTES: settings.segment_bytes, OUTBOX_BYTES: settings.outbox_bytes, WHEN_FULL: settings.when_full}
    return {name: str(value) for name, value in said.items() if value is not None}


def _from_mapping(said: Mapping[str, Any]) -> Settings:
    known = [entry.name for entry in fields(Settings)]
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise ConfigurationError(f"no such setting: {', '.join(unknown)}; there are {', '.join(known)}")
    return Settings(**said)


def _url(url: str | None) -> str | None:
    if url and host_of(url) is None:
        raise ConfigurationError(f"the server's address is http://host:port or https://host, not {url!r}")
    return url or None


def _directory(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _first(said: T | None, environment: T | None, default: T) -> T:
    if said is not None:
        return said
    return default if environment is None else environment


def _boolean(environment: Mapping[str, str], name: str) -> bool | None:
    value = environment.get(name)
    if not value:
        return None
    if value.lower() not in _BOOLEANS:
        raise ConfigurationError(f"{name}={value} is neither true nor false")
    return _BOOLEANS[value.lower()]


def _environment_seconds(environment: Mapping[str, str]) -> float | None:
    value = environment.get(FINISH_TIMEOUT_S)
    return _seconds(FINISH_TIMEOUT_S, value) if value else None


def _environment_interval(environment: Mapping[str, str]) -> float | None:
    value = environment.get(SYSTEM_INTERVAL_S)
    return _interval(SYSTEM_INTERVAL_S, value) if value else None


def _interval(name: str, value: object) -> float:
    seconds = _seconds(name, value)
    if seconds < MIN_SYSTEM_INTERVAL_S:
        raise ConfigurationError(f"{name} is at least {MIN_SYSTEM_INTERVAL_S} seconds, not {value!r}")
    return seconds


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # whatever a user gives
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"{name} is a number of seconds from 0 on, not {value!r}")
    return seconds
