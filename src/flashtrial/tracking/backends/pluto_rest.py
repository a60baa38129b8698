"""The Pluto wire contract as flashtrial's client speaks it; `docs/decisions/015-neighbours-wires.md` has the calls."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.backends.rest import Rest

URL_API, URL_INGEST, URL_PY = "PLUTO_URL_API", "PLUTO_URL_INGEST", "PLUTO_URL_PY"
TOKENS = ("PLUTO_API_KEY", "PLUTO_API_TOKEN", "MLOP_API_TOKEN")
DEFAULTS = {
    URL_API: "https://pluto-api.trainy.ai",
    URL_INGEST: "https://pluto-ingest.trainy.ai",
    URL_PY: "https://pluto-py.trainy.ai",
}
MAX_LINES = 100


@dataclass(frozen=True, slots=True)
class PlutoRun:
    """A run that exists at the server, by its number there, and the headers that name it."""

    number: int
    name: str
    project: str

    def headers(self) -> dict[str, str]:
        """What names the run beside each line; ASCII, as Pluto's own client has it."""
        return {"X-Run-Id": str(self.number), "X-Run-Name": _ascii(self.name), "X-Project-Name": _ascii(self.project)}


class PlutoRest:
    """One Pluto server, at up to three addresses. Raises `Outage` and `RefusedRequest`. Used by one thread."""

    def __init__(self, api: str, ingest: str, py: str, token: str) -> None:
        self.url = api.rstrip("/")
        self._ingest = ingest.rstrip("/")
        self._py = py.rstrip("/")
        self._rest = Rest({"Authorization": f"Bearer {token}", "User-Agent": "flashtrial"})

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "PlutoRest":
        """The server that Pluto's own variables name, else Pluto's. Raises `Outage` where there is no token."""
        token = next((environment[name] for name in TOKENS if environment.get(name)), None)
        if token is None:
            raise Outage("a Pluto server needs a key: set PLUTO_API_KEY")
        api, ingest, py = (environment.get(name) or default for name, default in DEFAULTS.items())
        return cls(api, ingest, py, token)

    def close(self) -> None:
        self._rest.close()

    def create(self, said: Mapping[str, Any]) -> PlutoRun:
        """The run with this ``externalId`` in this project, made where there is none, and set running."""
        answer = self._rest.post(f"{self.url}/api/runs/create", said, {"X-Run-Id": "None"})
        match answer:
            case {"runId": int(number)}:
                return PlutoRun(number, str(said["runName"]), str(said["projectName"]))
        raise Outage(f"{self.url} answered something that is no run: is another program on that port?")

    def change(self, run: PlutoRun, path: str, said: Mapping[str, Any]) -> None:
        """Change something of the run as a whole: ``tags/update``, ``config/update``, ``status/update``, …"""
        self._rest.post(f"{self.url}/api/runs/{path}", {"runId": run.number, **said}, run.headers())

    def alert(self, run: PlutoRun, said: Mapping[str, Any]) -> None:
        """Raise an alert."""
        self._rest.post(f"{self._py}/api/runs/alert", {"runId": run.number, "alert": said}, run.headers())

    def beat(self, run: PlutoRun) -> None:
        """Tell that the run lives."""
        self._rest.post(f"{self._py}/api/runs/trigger", {"runId": run.number}, run.headers())

    def lines(self, run: PlutoRun, path: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Send lines to ``metrics``, ``data`` or ``logs``, NaN and infinities bare, a hundred to a request."""
        headers = {**run.headers(), "Content-Type": "application/x-ndjson"}
        for some in _chunks(lines, MAX_LINES):
            body = "".join(f"{json.dumps(line)}\n" for line in some).encode()
            self._rest.post(f"{self._ingest}/ingest/{path}", body, headers)

    def put_file(self, run: PlutoRun, said: Mapping[str, Any], path: Path, content_type: str) -> None:
        """Ask where a file is to go, and put it there. Raises FileNotFoundError, too."""
        answer = self._rest.post(f"{self._ingest}/files", {"files": [said]}, run.headers())
        url = _address(answer, str(said["fileName"]))
        if url is None:
            raise Outage(f"{self._ingest} gave no address for a file")
        self._rest.put_file(url, path, content_type, with_token=False)


def _address(answer: object, file_name: str) -> str | None:
    """The address of a file in an answer of lists of maps."""
    if not isinstance(answer, dict):
        return None
    entries: Iterable[Any] = (entry for listed in answer.values() if isinstance(listed, list) for entry in listed)
    return next((str(entry[file_name]) for entry in entries if isinstance(entry, dict) and file_name in entry), None)


def _chunks(lines: Sequence[Mapping[str, Any]], size: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(lines), size):
        yield lines[start : start + size]


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
