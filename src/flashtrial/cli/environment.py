"""The variables that point unmodified clients at an instance, or at the cloud."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from flashtrial.core import env
from flashtrial.core.errors import FlashtrialError

KEY_FILE = "key"
# With these set the SDK believes it runs inside a worker, and `@remote` gives back the plain function.
WORKER_MARKS = ("RUNPOD_ENDPOINT_ID", "RUNPOD_POD_ID")
_LIVE = {"FLASH_IS_LIVE_PROVISIONING": "true", "RUNPOD_FLASH_SILENCE_DEPRECATION": "1"}
# The stock SDK announces its own end at every import of its names.
_SDK_WARNINGS = "ignore:runpod_flash.:DeprecationWarning"


class NoKey(FlashtrialError):
    """Raised when a home has no key file; `flashtrial up` makes it."""


def read_key(home: Path) -> str:
    """The key of the home's local RunPod and token of its server. Raises `NoKey` when there is none yet."""
    try:
        return (home / KEY_FILE).read_text().strip()
    except FileNotFoundError:
        raise NoKey(f"{home / KEY_FILE} is missing: `flashtrial up` makes it at its first start") from None


def local(url: str, key: str) -> dict[str, str]:
    """What the stock RunPod SDKs and our own clients need to work against the instance at `url`."""
    return {
        env.URL: url,
        env.TOKEN: key,
        "RUNPOD_API_KEY": key,
        **_LIVE,
        "RUNPOD_API_BASE_URL": url,
        "RUNPOD_ENDPOINT_BASE_URL": f"{url}/v2",
        "RUNPOD_REST_API_URL": f"{url}/v1",
        "RUNPOD_HAPI_URL": url,
        "RUNPOD_CONSOLE_URL": url,
    }


def neighbours(url: str, key: str) -> dict[str, str]:
    """What points the unmodified Pluto and MLflow clients at the instance at `url`."""
    return {
        **dict.fromkeys(("PLUTO_URL_APP", "PLUTO_URL_API", "PLUTO_URL_INGEST", "PLUTO_URL_PY"), url),
        "PLUTO_API_KEY": key,
        "PLUTO_DISABLE_TELEMETRY": "1",
        "MLFLOW_TRACKING_URI": url,
        "MLFLOW_TRACKING_TOKEN": key,
    }


def for_shell(url: str, key: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """What a shell with the environment `inherited` exports to work against the instance at `url`, past any proxy."""
    return _past_proxies(url, key, inherited) | neighbours(url, key)


def _past_proxies(url: str, key: str, inherited: Mapping[str, str]) -> dict[str, str]:
    return local(url, key) | env.around_proxies(inherited, [urlsplit(url).hostname or ""])


def cloud() -> dict[str, str | None]:
    """What differs on RunPod's own cloud; None stands for a variable that must not be set."""
    addresses = [name for name in local("", "") if name.endswith("_URL") and name != env.URL]
    return {**_LIVE, **dict.fromkeys(addresses)}


def for_script(url: str, key: str, inherited: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of a script that runs against the instance of `home` at `url`.

    Without `neighbours`: what the user said of an MLflow or Pluto server is where a further backend is to send.
    """
    kept = {name: value for name, value in inherited.items() if name not in WORKER_MARKS}
    # Ours first: of two filters that fit, Python takes the later one, so that what the user says wins.
    filters = ",".join(filter(None, (_SDK_WARNINGS, inherited.get("PYTHONWARNINGS"))))
    return kept | _past_proxies(url, key, inherited) | {"PYTHONWARNINGS": filters, env.HOME: str(home)}


def as_shell(variables: Mapping[str, str | None]) -> str:
    """Lines for ``eval "$(flashtrial env)"``: exports, and ``unset`` where the value is None."""
    return "\n".join(
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}" for name, value in variables.items()
    )


CLOUD_NOTES = """\
# Set these yourself, each where it applies:
#   RUNPOD_API_KEY    your own key, from RunPod's console
#   FLASH_GPU_IMAGE   the worker image you built from this repository; FLASH_CPU_IMAGE for endpoints without a GPU
#   FLASHTRIAL_URL    an address of your tracking server that the cloud can reach, and FLASHTRIAL_TOKEN for it"""
