"""Where a run can be looked at: its page at flashtrial's own server, or else the address of where its records go."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from flashtrial.core import env
from flashtrial.tracking.journal.routes import NATIVE, Destination
from flashtrial.tracking.journal.writer import RunWriter
from flashtrial.tracking.settings.address import INSTANCE, find_address, instance_url, without_users

# As the backends look for their servers; they are not loaded here, since they bring an HTTP client.
_SERVERS: Final = {
    "mlflow": ("MLFLOW_TRACKING_URI", "http://localhost:5002"),
    "pluto": ("PLUTO_URL_API", "https://pluto-api.trainy.ai"),
}


def page_of(writer: RunWriter) -> str:
    """The page of the writer's run, at the server that it goes to; without our own server the address of the first
    other one."""
    settings = writer.settings
    if NATIVE not in settings.backends:
        return _address(settings.backends[0], env.snapshot())
    match writer.server:
        case None:
            url = find_address(settings.home, url=settings.url).url
        case str() if writer.server == INSTANCE:
            url = instance_url(settings.home)
        case named:
            url = named
    return f"{url}/runs/{quote(writer.run_id, safe='')}"


def destinations_of(writer: RunWriter) -> list[Destination]:
    """Where the records of a run go, by the names that the sync process has for it."""
    return [Destination(name, (writer.server or "") if name == NATIVE else "") for name in writer.settings.backends]


def _address(name: str, environment: Mapping[str, str]) -> str:
    variable, default = _SERVERS[name]
    return without_users(environment.get(variable) or default)
