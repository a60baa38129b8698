"""Are the parts of an instance up? Each is asked for something only a working one can answer."""

from dataclasses import asdict, dataclass
from pathlib import Path

from flashtrial.cli import environment, instance, probe
from flashtrial.core import env


@dataclass(frozen=True, slots=True)
class PartStatus:
    """Whether one part answers; `detail` says why not, or what hinders it. A part that is switched off is not asked."""

    up: bool
    url: str
    detail: str = ""


def ping(home: Path) -> dict[str, PartStatus]:
    """Each part of the instance that clients of this home speak to, by name."""
    running = instance.find(home)
    url = address(running)
    parts = {"server": _server(url), "dashboard": _dashboard(url)}
    if running is None or running.runpod:
        parts["local_runpod"] = _local_runpod(url, home)
    return parts


def address(running: instance.Instance | None) -> str:
    """``FLASHTRIAL_URL``, else the running instance's, else the default port on this machine."""
    given = env.get(env.URL) or (running.url if running else f"http://127.0.0.1:{env.DEFAULT_PORT}")
    return given.rstrip("/")


def as_json(parts: dict[str, PartStatus]) -> dict[str, dict[str, object]]:
    """The parts as plain values."""
    return {name: asdict(part) for name, part in parts.items()}


def _server(url: str) -> PartStatus:
    readiness = probe.readiness(url)
    return PartStatus(readiness.is_up, url, readiness.detail)


def _dashboard(url: str) -> PartStatus:
    answer = probe.get(f"{url}/")
    if answer.ok and b"<html" not in answer.body.lower():
        return PartStatus(False, f"{url}/", "the page is no HTML")
    return PartStatus(answer.ok, f"{url}/", answer.problem)


def _local_runpod(url: str, home: Path) -> PartStatus:
    try:
        key = environment.read_key(home)
    except environment.NoKey as error:
        return PartStatus(False, f"{url}/v2", str(error))
    answer = probe.post(f"{url}/graphql", {"query": "query { gpuTypes { id } }"}, key=key)
    return PartStatus(answer.ok, f"{url}/v2", answer.problem)
