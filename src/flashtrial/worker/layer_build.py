"""Running uv for one layer: resolve over the base, then install exactly that beside."""

import asyncio
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from flashtrial.core import env, files
from flashtrial.process.subprocess_utils import (
    CommandError,
    CommandFailed,
    CommandTimedOut,
    CompletedCommand,
    run_logged_subprocess,
)
from flashtrial.worker import uv_commands
from flashtrial.worker.install_errors import InstallFailed
from flashtrial.worker.install_plan import InstallPlan
from flashtrial.worker.layer_check import damaged_packages

log = logging.getLogger(__name__)

_KEPT_BYTES = 4 * 1024 * 1024  # the list of what to install must not be cut
_DAMAGED = {"action": "cache_damaged"}


async def install_beside(plan: InstallPlan, beside: Path, cache: Path, deadline_s: float) -> tuple[str, ...]:
    """Install what `plan` lacks into ``beside/site``; the exact packages that were installed.

    `deadline_s` is for all of it. Raises `InstallFailed` with the reason that uv gave; `beside` is then worth nothing.
    """
    run = _Uv(beside, cache, time.monotonic() + deadline_s)
    try:
        packages = await _resolve(run, plan)
        if packages:
            await _install(run, _listed(beside / "resolved.txt", packages), beside / "site")
    except CommandTimedOut as error:
        raise InstallFailed(_message(plan, f"not done after {deadline_s:g} s", error.stderr)) from error
    except CommandFailed as error:
        raise InstallFailed(_message(plan, f"uv ended with status {error.returncode}", error.stderr)) from error
    except CommandError as error:
        raise InstallFailed(_message(plan, str(error), "")) from error
    return packages


class _Uv:
    """uv in one directory, with one deadline for all its runs."""

    def __init__(self, beside: Path, cache: Path, deadline: float) -> None:
        self.beside = beside
        self._deadline = deadline
        self._environment = uv_commands.environment(env.without_secrets(env.snapshot()), cache)
        used_cache = files.ensure_private_dir(Path(self._environment["UV_CACHE_DIR"]))
        self._environment.setdefault("UV_LINK_MODE", uv_commands.link_mode(used_cache, beside))

    async def __call__(self, command: Sequence[str]) -> CompletedCommand:
        return await run_logged_subprocess(
            command,
            deadline_s=max(self._deadline - time.monotonic(), 0),
            env=self._environment,
            cwd=self.beside,
            kept_bytes=_KEPT_BYTES,
        )


async def _resolve(run: _Uv, plan: InstallPlan) -> tuple[str, ...]:
    """What to install: with all of the base kept, or, if that cannot be, with only what is protected kept."""
    requirements = _listed(run.beside / "requirements.txt", plan.requirements)
    kept = _listed(run.beside / "base.txt", plan.base_pins)
    try:
        done = await run(uv_commands.resolve_command(requirements, kept))
    except CommandFailed as error:
        if not uv_commands.is_conflict(error.stderr):
            raise
        protected = _listed(run.beside / "protected.txt", plan.protected_pins)
        done = await run(uv_commands.resolve_command(requirements, protected))
    return uv_commands.resolved(done.stderr)


async def _install(run: _Uv, resolved: Path, site: Path) -> None:
    await run(uv_commands.install_command(resolved, site))
    if damaged := await asyncio.to_thread(damaged_packages, site):
        log.warning("uv's cache has damaged files of %s; getting them anew", ", ".join(damaged), extra=_DAMAGED)
        await asyncio.to_thread(shutil.rmtree, site)
        await run([*uv_commands.install_command(resolved, site), "--no-cache"])
        if damaged := await asyncio.to_thread(damaged_packages, site):
            raise InstallFailed(f"the index gives damaged packages: {', '.join(damaged)}")


def _listed(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _message(plan: InstallPlan, what: str, said: str) -> str:
    return f"could not install {', '.join(plan.missing)}: {what}\n{uv_commands.reason(said)}".rstrip()
