"""The only reader of the process environment.

Everything else asks here, so that what flashtrial depends on can be listed by reading one file, and so that a test
can hand in a mapping. Writers of a child's environment start from `snapshot` and take secrets out by `without_secrets`.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from flashtrial.core.errors import ConfigurationError

HOME = "FLASHTRIAL_HOME"
URL = "FLASHTRIAL_URL"
TOKEN = "FLASHTRIAL_TOKEN"  # noqa: S105 - the name of a variable, not a secret
PROJECT = "FLASHTRIAL_PROJECT"
OUTBOX = "FLASHTRIAL_OUTBOX"
BACKENDS = "FLASHTRIAL_BACKENDS"
RUN_ID = "FLASHTRIAL_RUN_ID"
SYNC_PROCESS_ENABLED = "FLASHTRIAL_SYNC_PROCESS_ENABLED"
FINISH_TIMEOUT_S = "FLASHTRIAL_FINISH_TIMEOUT_S"
CLIENT_LOG_LEVEL = "FLASHTRIAL_LOG_LEVEL"
CONSOLE = "FLASHTRIAL_CONSOLE"
SYSTEM_MONITOR = "FLASHTRIAL_SYSTEM_MONITOR"
SYSTEM_INTERVAL_S = "FLASHTRIAL_SYSTEM_INTERVAL_S"
FACTS = "FLASHTRIAL_FACTS"
MASK_SECRETS = "FLASHTRIAL_MASK_SECRETS"
# The runs that a process has opened without being told which, for children that import its program once more.
OPENED_RUNS = "FLASHTRIAL_OPENED_RUNS"
WORKER_ID = "FLASHTRIAL_WORKER_ID"
CONCURRENCY = "FLASHTRIAL_CONCURRENCY"
INSTALL_DEADLINE_S = "FLASHTRIAL_INSTALL_DEADLINE_S"
SYSTEM_INSTALL_DEADLINE_S = "FLASHTRIAL_SYSTEM_INSTALL_DEADLINE_S"
LAYERS_BYTES = "FLASHTRIAL_LAYERS_BYTES"
GPU_PLACEMENT = "FLASHTRIAL_GPU_PLACEMENT"
MAX_FILE_BYTES = "FLASHTRIAL_MAX_FILE_BYTES"
MAX_RUN_BYTES = "FLASHTRIAL_MAX_RUN_BYTES"
MAX_TOTAL_BYTES = "FLASHTRIAL_MAX_TOTAL_BYTES"
SILENT_AFTER_S = "FLASHTRIAL_SILENT_AFTER_S"
REQUESTS_PER_S = "FLASHTRIAL_REQUESTS_PER_S"
KEEP_DAYS = "FLASHTRIAL_KEEP_DAYS"
KEEP_RUNS = "FLASHTRIAL_KEEP_RUNS"
KEEP_BYTES = "FLASHTRIAL_KEEP_BYTES"
CORS_ALLOWED_ORIGINS = "CORS_ALLOWED_ORIGINS"
ENDPOINT_ID = "RUNPOD_ENDPOINT_ID"
LOG_LEVEL = "LOG_LEVEL"
LOG_FORMAT = "FLASHTRIAL_LOG_FORMAT"

DEFAULT_PORT = 8787

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_NO_PROXY = ("no_proxy", "NO_PROXY")
_SECRETS = frozenset(
    {TOKEN, "RUNPOD_API_KEY", "RUNPOD_AI_API_KEY", "PLUTO_API_KEY", "PLUTO_API_TOKEN", "MLOP_API_TOKEN"}
)
# Addresses of the platform's job protocol: with them user code could take and answer jobs of its endpoint.
_PLATFORM = ("RUNPOD_WEBHOOK_",)


def get(name: str, default: str = "") -> str:
    """The variable's value, or `default` when it is unset or empty."""
    return os.environ.get(name) or default


def number(name: str, default: float) -> float:
    """The variable as a number of 0 or more, `default` when it is unset or empty. Raises `ConfigurationError`."""
    text = get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigurationError(f"{name}={text} is not a number of 0 or more")
    return value


def flag(name: str, *, default: bool) -> bool:
    """The variable as a yes or no, `default` when it is unset or empty. Raises `ConfigurationError`."""
    text = get(name).lower()
    if not text:
        return default
    if text not in _BOOLEANS:
        raise ConfigurationError(f"{name}={text} is neither true nor false")
    return _BOOLEANS[text]


def whole(name: str, default: int) -> int:
    """`number`, less what is behind the point: counts and bytes, also written as 1e9."""
    return int(number(name, default))


def listed(name: str) -> tuple[str, ...]:
    """The variable's parts between commas, without blanks; none when it is unset or empty."""
    return tuple(part.strip() for part in get(name).split(",") if part.strip())


def snapshot() -> dict[str, str]:
    """A copy of the whole environment, the caller's to change."""
    return dict(os.environ)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` less the credentials and job addresses that user code has no use for."""
    return {
        name: value for name, value in environment.items() if name not in _SECRETS and not name.startswith(_PLATFORM)
    }


def around_proxies(environment: Mapping[str, str], hosts: Sequence[str]) -> dict[str, str]:
    """``NO_PROXY`` in both spellings: all that `environment` names in either, and `hosts`."""
    given = [environment.get(name, "") for name in _NO_PROXY]
    names = (name.strip() for listed in (*given, *hosts) for name in listed.split(","))
    return dict.fromkeys(_NO_PROXY, ",".join(dict.fromkeys(filter(None, names))))


def home() -> Path:
    """Where this user's state lives: ``$FLASHTRIAL_HOME``, else ``~/.flashtrial``. Not created here.

    Raises `ConfigurationError` for a user without a home directory, as containers have them.
    """
    try:
        return Path(get(HOME, "~/.flashtrial")).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigurationError("there is no home directory: set FLASHTRIAL_HOME to a directory of yours") from error


def outbox_dir() -> Path:
    """Where journals of unsent records are written: ``$FLASHTRIAL_OUTBOX``, else ``outbox`` in `home`."""
    return Path(get(OUTBOX) or home() / "outbox").expanduser().absolute()


def prepend(name: str, entries: Sequence[str]) -> None:
    """Put `entries` in front of a path-list variable of this process. For children, about their own grandchildren."""
    if entries:
        before = os.environ.get(name)
        os.environ[name] = os.pathsep.join([*entries, *([before] if before else [])])


def set_all(variables: Mapping[str, str]) -> None:
    """Set `variables` in this process. For children, before anything of the user's runs."""
    os.environ.update(variables)


def encoded() -> dict[bytes, bytes]:
    """The whole environment as the operating system has it; a copy. Ten times as quick as `snapshot`."""
    return dict(os.environ._data)  # type: ignore[attr-defined]  # noqa: SLF001 - decoding it all costs 17 µs a call


def restore(variables: Mapping[bytes, bytes]) -> None:
    """Make this process's environment what `encoded` said. For children, between two calls."""
    wanted = {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()}
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)
