"""The server of each run, as its journals name it: asked with the tokens that the sync process would show.

What this home's own instance has is read from its database, so that nothing need run. Where no instance of this home
runs, its address may be another server's: a container's, or the end of a tunnel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flashtrial.cli import probe
from flashtrial.cli.probe import Answer
from flashtrial.core import env
from flashtrial.core.errors import FlashtrialError
from flashtrial.tracking.backends.native import HEARTBEAT_PATH
from flashtrial.tracking.journal.routes import NATIVE, Destination
from flashtrial.tracking.sending.addresses import Addresses
from flashtrial.tracking.settings.address import INSTANCE, Address, has_instance, instance_url, server_meant
from flashtrial.tracking.settings.credentials import Credentials

_REFUSED = (401, 403)
_MOST_WORDS = 300  # of what a server says, which may be a page


class ServerSilent(FlashtrialError):
    """Raised when the server of a run cannot be asked now."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a server says to the token that it is shown; `problem` is empty where all is well."""

    url: str
    problem: str


class RunServers:
    """Asks the servers that the runs of `home` go to."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = environment
        self._addresses = Addresses(home, environment)

    def default(self) -> Destination:
        """Where a run would go that is opened now."""
        url = self._environment.get(env.URL) or None
        return Destination(NATIVE, server_meant(self._home, url))

    def goes_elsewhere(self) -> bool:
        """Whether the user named a server that this home's own instance is not, or is not now."""
        return self.default().url != INSTANCE or (self._is_named() and not has_instance(self._home))

    def counts(self, destination: Destination, run_id: str) -> list[dict[str, Any]]:
        """What arrived of a run, by writer; empty where it is not known. Raises `ServerSilent`."""
        home = Path(destination.home) if destination.home else self._home
        is_own = self._addresses.find(destination).url == instance_url(home)
        on_disk = counts_on_disk(home, run_id) if is_own else []
        if on_disk or (is_own and has_instance(home)):
            return on_disk
        path = f"/api/v1/runs/{quote(run_id, safe='')}/writers"
        url, answer = self._ask(destination, lambda at: probe.get(at.url + path, key=at.token or ""))
        match answer.status, answer.json():
            case 200, {"writers": list(writers)}:
                return writers
            case 404, {"error": "no_such_run"}:
                return []
            case 0, _ if is_own and not self._is_named():  # no server that anybody spoke of
                return []
        raise ServerSilent(f"run {run_id} goes to {url}, which cannot be asked: {_problem(answer)}")

    def health(self, destination: Destination) -> Health:
        """Whether a server takes the token for what it is for, which is writing: a heartbeat of no writers."""
        url, answer = self._ask(
            destination, lambda at: probe.post(at.url + HEARTBEAT_PATH, {"writers": []}, key=at.token or "")
        )
        if answer.status in _REFUSED:
            return Health(url, f"refuses the token ({_problem(answer)}): set FLASHTRIAL_TOKEN or `flashtrial login`")
        if answer.ok and not isinstance(answer.json(), dict):
            return Health(url, "answers in other words than ours: is another program on that port?")
        return Health(url, _problem(answer))

    def _is_named(self) -> bool:
        """Whether a server is configured, by a variable or a login."""
        return bool(self._environment.get(env.URL) or Credentials.read(self._home).url)

    def _ask(self, destination: Destination, question: Callable[[Address], Answer]) -> tuple[str, Answer]:
        """The address, and its answer to the first token that it does not refuse."""
        while True:
            address = self._addresses.find(destination)
            answer = question(address)
            if answer.status not in _REFUSED or not self._addresses.refuse(destination, address):
                return address.url, answer


def _problem(answer: Answer) -> str:
    """What hinders, in the server's own words where it says some; empty where nothing does."""
    match answer.json():
        case {"message": str(words)} if answer.problem:
            return f"HTTP {answer.status}, {words[:_MOST_WORDS]}"
    return answer.problem


def counts_on_disk(home: Path, run_id: str) -> list[dict[str, Any]]:
    """What arrived of a run at the instance of `home`, by writer."""
    from flashtrial.server.settings import database_of
    from flashtrial.server.views import verify_counts

    return [dict(count) for count in verify_counts(database_of(home), run_id)]
