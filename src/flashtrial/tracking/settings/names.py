"""Each setting by name: what it may be, which variables say it, and what other clients of the family call it.

The one table that `settings` reads and that the documentation is held equal to. Standard library only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.settings.address import host_of
from flashtrial.tracking.settings.limits import OUTBOX_BYTES, SEGMENT_BYTES, WHEN_FULL, WhenFull, parse_when_full

DEFAULT_SYSTEM_INTERVAL_S: Final = 10.0
MIN_SYSTEM_INTERVAL_S: Final = 0.05
BACKENDS: Final = ("native", "mlflow", "pluto")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

Parser: TypeAlias = Callable[[str, Any], Any]  # of what the value is called in messages, and the value


class Scope(StrEnum):
    """Which files may say a setting: a project's is in its repository, and names nobody's server or secret."""

    ANYWHERE = "in every file"
    MACHINE = "in no file but the home's"
    PROCESS = "in no file"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `parse_text` is for values of variables, where it differs from `parse`.

    Variables count in their order; what other products call theirs never makes an `init` fail, and those of MLOP say
    that they are out of use. `aliases` are names in settings objects and files.
    """

    name: str
    parse: Parser
    help: str
    default: str
    variables: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    scope: Scope = Scope.ANYWHERE
    parse_text: Parser | None = None

    def from_variable(self, variable: str, value: str) -> Any:
        """The value that a variable of the environment says. Raises `ConfigurationError`."""
        return (self.parse_text or self.parse)(variable, value)


def _text(named: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{named} is a text, not {value!r:.80}")
    return value


def _flag(named: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{named} is true or false, not {value!r:.80}")
    return value


def _flag_word(named: str, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise ConfigurationError(f"{named}={value} is neither true nor false")
    return _BOOLEANS[value.lower()]


def _seconds(named: str, value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # whatever a user gives
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"{named} is a number of seconds from 0 on, not {value!r:.80}")
    return seconds


def _interval(named: str, value: object) -> float:
    seconds = _seconds(named, value)
    if seconds < MIN_SYSTEM_INTERVAL_S:
        raise ConfigurationError(f"{named} is at least {MIN_SYSTEM_INTERVAL_S} seconds, not {value!r:.80}")
    return seconds


def _directory(named: str, value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigurationError(f"{named} is a directory, not {value!r:.80}")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigurationError("there is no home directory: set FLASHTRIAL_HOME to a directory of yours") from error


def _url(named: str, value: object) -> str:
    if not isinstance(value, str) or host_of(value) is None:
        raise ConfigurationError(
            f"{named}: the server's address is http://host:port or https://host, not {value!r:.80}"
        )
    if "@" in urlsplit(value).netloc:  # it would stand in journals and logs, and the server is not shown it
        raise ConfigurationError(f"{named}: the address holds a name or a password: leave them out, and set a token")
    return value


def _host(named: str, value: object) -> str:
    """A host, or host:port, made into an address: of our own port where it names none."""
    name = _text(named, value)
    address = name if "://" in name else f"http://{name}"
    has_port = name.rpartition("]")[2].rpartition("/")[2].count(":") == 1
    return _url(named, address if has_port or "://" in name else f"{address}:{env.DEFAULT_PORT}")


def _backends(named: str, value: object) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or any(name not in BACKENDS for name in names):
        raise ConfigurationError(f"{named} is one or more of {', '.join(BACKENDS)}, not {value!r:.80}")
    return tuple(dict.fromkeys(names))


def _backend_words(named: str, value: str) -> tuple[str, ...]:
    names = [name for name in map(str.strip, value.lower().split(",")) if name]
    return _backends(named, names if names and set(names) <= set(BACKENDS) else value)


def _bytes(named: str, value: object) -> int:
    try:
        number = int(value)  # type: ignore[call-overload]  # whatever a user gives
    except (TypeError, ValueError):
        number = -1
    if number < 0 or isinstance(value, bool):
        raise ConfigurationError(f"{named} is a number of bytes, not {value!r:.80}")
    return int(number)


def _when_full(named: str, value: object) -> WhenFull:
    return parse_when_full(value, named)  # type: ignore[arg-type]  # whatever a user gives


def _level(named: str, value: object) -> str:
    name = f"{value}".upper()
    if name.isdecimal():  # logging's own numbers, in whose steps of ten Pluto counts too
        name = LEVELS[min(max(int(name) // 10 - 1, 0), len(LEVELS) - 1)]
    if name not in LEVELS:
        raise ConfigurationError(f"{named} is one of {', '.join(LEVELS)}, not {value!r:.80}")
    return name


SETTINGS: Final = (
    Setting("project", _text, "what the run belongs to", "`default`", (env.PROJECT, "PLUTO_PROJECT", "MLOP_PROJECT")),
    Setting(
        "run_id",
        _text,
        "the run that `init` goes on with",
        "a new run",
        (env.RUN_ID, "PLUTO_RUN_ID", "MLOP_RUN_ID"),
        ("_external_id",),
        Scope.PROCESS,
    ),
    Setting(
        "url",
        _url,
        "the server's address",
        "the one of `login`, else the instance of this home",
        (env.URL,),
        scope=Scope.MACHINE,
    ),
    Setting("host", _host, "the server by host, or host:port; `url` wins", "see `url`", scope=Scope.MACHINE),
    Setting(
        "token",
        _text,
        "what the server is shown",
        "the one of `login` for that address",
        (env.TOKEN, "PLUTO_API_KEY", "PLUTO_API_TOKEN", "MLOP_API_TOKEN"),
        ("_auth",),
        Scope.MACHINE,
    ),
    Setting("home", _directory, "where state lives", "`~/.flashtrial`", (env.HOME,), scope=Scope.PROCESS),
    Setting(
        "outbox", _directory, "where unsent records lie", "`outbox` in the home", (env.OUTBOX,), scope=Scope.MACHINE
    ),
    Setting(
        "backends",
        _backends,
        "where records go: any of `native`, `mlflow`, `pluto`",
        "`native`",
        (env.BACKENDS,),
        parse_text=_backend_words,
    ),
    Setting(
        "sync_process_enabled",
        _flag,
        "whether a process sends the records; false: a thread of this one",
        "true",
        (env.SYNC_PROCESS_ENABLED,),
        parse_text=_flag_word,
    ),
    Setting(
        "finish_timeout_s",
        _seconds,
        "how long `finish` waits for delivery",
        "30; 0 in a distributed job and inside a worker",
        (env.FINISH_TIMEOUT_S, "PLUTO_THREAD_JOIN_TIMEOUT_SECONDS", "MLOP_THREAD_JOIN_TIMEOUT_SECONDS"),
        ("x_thread_join_timeout_seconds", "sync_process_shutdown_timeout"),
    ),
    Setting("outbox_bytes", _bytes, "the most that unsent records take of the disk", "10 GiB", (OUTBOX_BYTES,)),
    Setting("segment_bytes", _bytes, "the size of one file of a journal", "64 MiB", (SEGMENT_BYTES,)),
    Setting(
        "when_full",
        _when_full,
        "what becomes of records when that is used up: `drop`, `block` or `raise`",
        "`drop`",
        (WHEN_FULL,),
    ),
    Setting(
        "log_level",
        _level,
        "what flashtrial's own logger says",
        "as logging is set up",
        (env.CLIENT_LOG_LEVEL, "PLUTO_DEBUG_LEVEL", "MLOP_DEBUG_LEVEL"),
        ("x_log_level",),
    ),
    Setting(
        "console",
        _flag,
        "whether what is printed becomes records",
        "where that is safe",
        (env.CONSOLE,),
        parse_text=_flag_word,
    ),
    Setting(
        "system_monitor",
        _flag,
        "whether the machine is watched",
        "true",
        (env.SYSTEM_MONITOR,),
        parse_text=_flag_word,
    ),
    Setting(
        "system_interval_s",
        _interval,
        "seconds between two samples of the machine",
        f"{DEFAULT_SYSTEM_INTERVAL_S:g}",
        (env.SYSTEM_INTERVAL_S,),
        ("x_sys_sampling_interval",),
    ),
    Setting(
        "facts",
        _flag,
        "whether commit, packages, command line and host are noted",
        "true",
        (env.FACTS,),
        parse_text=_flag_word,
    ),
    Setting(
        "mask_secrets",
        _flag,
        "whether secrets in configurations become `***` before they are written",
        "true",
        (env.MASK_SECRETS,),
        scope=Scope.MACHINE,
        parse_text=_flag_word,
    ),
)

BY_NAME: Final[Mapping[str, Setting]] = {
    name: setting for setting in SETTINGS for name in (setting.name, *setting.aliases)
}
# What Pluto says the other way round.
NEGATED: Final[Mapping[str, str]] = {"disable_console": "console", "disable_system_metrics": "system_monitor"}
# What tunes Pluto's own works and has nothing to tune here: taken without a word, so that its scripts run.
WITHOUT_EFFECT: Final = frozenset(
    {
        "x_console_fd_capture",
        "x_file_stream_max_conn",
        "x_file_stream_max_size",
        "x_file_stream_retry_max",
        "x_file_stream_retry_wait_max_seconds",
        "x_file_stream_retry_wait_min_seconds",
        "x_file_stream_timeout_seconds",
        "x_file_stream_transmit_interval",
        "x_grad_label",
        "x_internal_check_process",
        "x_param_label",
        "x_sigterm_status_enabled",
        "x_sigterm_status_timeout_seconds",
        "x_sys_label",
    }
)
