"""What a person who asks for help is asked first: versions, places, and what is missing."""

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import flashtrial
from flashtrial.cli import instance
from flashtrial.cli.outbox import pending, writers
from flashtrial.cli.run_servers import RunServers
from flashtrial.core import env
from flashtrial.tracking.journal.outbox import is_locked, lock_path
from flashtrial.tracking.journal.progress import read_status
from flashtrial.tracking.journal.routes import NATIVE
from flashtrial.tracking.journal.segments import size_bytes
from flashtrial.tracking.sending.feeds import DAMAGED_SUFFIX

_COMPANIONS = ("runpod", "runpod-flash", "fastapi", "uvicorn", "uv")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `ok` is false where something the product needs is not as it should be."""

    name: str
    value: str
    ok: bool = True


def examine(home: Path) -> list[Finding]:
    """Everything worth knowing about this installation; changes nothing and needs no running instance."""
    return [
        Finding("flashtrial", flashtrial.__version__),
        Finding("python", f"{platform.python_version()} at {sys.executable}"),
        Finding("platform", platform.platform()),
        *(_companion(name) for name in _COMPANIONS),
        _uv(),
        _home(home),
        _instance(home),
        *_servers(home, env.outbox_dir()),
        _pending(env.outbox_dir()),
        _set_aside(env.outbox_dir()),
        _sync_process(env.outbox_dir()),
    ]


def _companion(name: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed: pip install 'flashtrial[worker,server]'", ok=False)


def _uv() -> Finding:
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH')}")
    return Finding("uv command", found or "not found: workers cannot install dependencies", ok=found is not None)


def _home(home: Path) -> Finding:
    nearest = next(place for place in (home, *home.parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("home", f"{home} cannot be written: set FLASHTRIAL_HOME to a directory of yours", ok=False)
    return Finding("home", f"{home}{'' if home.exists() else ' (not made yet)'}")


def _instance(home: Path) -> Finding:
    running = instance.find(home)
    if running is None:
        return Finding("instance", "none runs")
    if not running.answers():
        return Finding("instance", f"pid {running.pid} does not answer at {running.url}", ok=False)
    return Finding("instance", f"{running.url} (pid {running.pid}, {running.version})")


def _servers(home: Path, outbox: Path) -> list[Finding]:
    """Each server that runs go to: those of which records wait, and the one that is configured, if it is not ours."""
    servers = RunServers(home, env.snapshot())
    named = {writer.places[NATIVE] for writer in writers(outbox) if writer.places.get(NATIVE) and writer.pending}
    if servers.goes_elsewhere():
        named.add(servers.default())
    found = {health.url: health for health in map(servers.health, sorted(named))}
    return [
        Finding("server", f"{each.url} {each.problem or 'answers'}", ok=not each.problem) for each in found.values()
    ]


def _pending(outbox: Path) -> Finding:
    waiting = pending(outbox)
    size_mb = (size_bytes(outbox) if outbox.is_dir() else 0) / 1e6
    return Finding("outbox", f"{waiting} records wait in {outbox} ({size_mb:.1f} MB)")


def _set_aside(outbox: Path) -> Finding:
    """Refused records, dropped ones, and journals with damage: things to look at, and nothing that stops."""
    refused = sum(writer.refused for writer in writers(outbox))
    dropped = sum(writer.dropped for writer in writers(outbox))
    damaged = sum(1 for _ in outbox.glob(f"*{DAMAGED_SUFFIX}"))
    return Finding("set aside", f"{refused} records refused, {dropped} dropped, {damaged} damaged journals")


def _sync_process(outbox: Path) -> Finding:
    if not is_locked(lock_path(outbox), shared=False):
        return Finding("sync process", "none runs; the next run or `flashtrial sync` starts one")
    status = read_status(outbox)
    outages = "; ".join(f"{name}: {reason}" for name, reason in sorted(status.outages.items())) if status else ""
    pid = f" (pid {status.pid})" if status else ""
    return Finding("sync process", f"runs{pid}{': ' + outages if outages else ''}", ok=not outages)
