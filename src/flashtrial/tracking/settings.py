"""What the tracking client may be told, by whom, and who wins: arguments > settings object > environment > defaults.

Configuration only: nothing that is learnt at run time is put in here. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.address import host_of

T = TypeVar("T")

SYNC_PROCESS_ENABLED = "FLASHTRIAL_SYNC_PROCESS_ENABLED"
FINISH_TIMEOUT_S = "FLASHTRIAL_FINISH_TIMEOUT_S"

DEFAULT_PROJECT = "default"
DEFAULT_HOME = "~/.flashtrial"
DEFAULT_FINISH_TIMEOUT_S = 30.0

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
    """

    project: str | None = None
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    home: str | Path | None = None
    outbox: str | Path | None = None
    sync_process_enabled: bool | None = None
    finish_timeout_s: float | None = None


SettingsLike: TypeAlias = Settings | Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSettings:
    """What holds for one run. In a worker's child (`worker_id`) the worker is the courier, and nobody waits for it."""

    project: str
    url: str | None
    token: str | None = field(repr=False)
    home: Path
    outbox: Path
    courier: Courier
    finish_timeout_s: float
    worker_id: str | None

    def sync_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """`environment` for the sync process that these settings ask for."""
        said = {env.HOME: str(self.home), env.URL: self.url, env.TOKEN: self.token}
        return {**environment, **{name: value for name, value in said.items() if value}}


def parse_settings(said: SettingsLike) -> Settings:
    """`said` as a `Settings`. Raises `ConfigurationError` for names that do not exist and values that cannot be."""
    settings = said if isinstance(said, Settings) else _from_mapping(said or {})
    if settings.sync_process_enabled not in (None, True, False):
        raise ConfigurationError(f"sync_process_enabled is true or false, not {settings.sync_process_enabled!r}")
    if settings.finish_timeout_s is not None:
        _seconds("finish_timeout_s", settings.finish_timeout_s)
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
    )


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


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # whatever a user gives
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"{name} is a number of seconds from 0 on, not {value!r}")
    return seconds
