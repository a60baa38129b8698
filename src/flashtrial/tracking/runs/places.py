"""Where a run can be looked at: its page at flashtrial's own server, or else the address of where its records go."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from flashtrial.core import env
from flashtrial.tracking.journal.facts import server_of
from flashtrial.tracking.journal.routes import NATIVE, Destination
from flashtrial.tracking.settings.address import find_address
from flashtrial.tracking.settings.resolution import EffectiveSettings

# As the backends look for their servers; they are not loaded here, since they bring an HTTP client.
_SERVERS: Final = {
    "mlflow": ("MLFLOW_TRACKING_URI", "http://localhost:5002"),
    "pluto": ("PLUTO_URL_API", "https://pluto-api.trainy.ai"),
}


def page_of(run_id: str, settings: EffectiveSettings) -> str:
    """The run's page, as far as the server is known now; without our own server the address of the first other."""
    if NATIVE in settings.backends:
        return f"{find_address(settings.home, url=settings.url).url}/runs/{quote(run_id, safe='')}"
    return _address(settings.backends[0], env.snapshot())


def destinations_of(settings: EffectiveSettings) -> list[Destination]:
    """Where the records of a run with these settings go, by the names that the sync process has for it."""
    url = server_of(settings) or ""
    return [Destination(name, url if name == NATIVE else "") for name in settings.backends]


def _address(name: str, environment: Mapping[str, str]) -> str:
    variable, default = _SERVERS[name]
    return environment.get(variable) or default
