"""Running an installer for one layer: resolve over the base, then install exactly that beside."""

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from flashtrial.core import env
from flashtrial.process.subprocess_utils import (
    CommandError,
    CommandFailed,
    CommandTimedOut,
    CompletedCommand,
    run_logged_subprocess,
)
from flashtrial.worker.build_errors import compiler_is_missing
from flashtrial.worker.install_errors import CompilerMissing, InstallFailed
from flashtrial.worker.install_plan import InstallPlan
from flashtrial.worker.layer_check import damaged_packages
from flashtrial.worker.package_tool import PackageTool

log = logging.getLogger(__name__)

FillCache = Callable[[Path, Sequence[str], bool], Awaitable[None]]
"""Told uv's cache and what is wanted: requirements before they are resolved, exact packages (True) before they are
installed."""

_KEPT_BYTES = 4 * 1024 * 1024  # the list of what to install must not be cut
_DAMAGED = {"action": "cache_damaged"}
_NAME = re.compile(r"[^\w.-]")  # a requirement begins with its name
_FORGET_DEADLINE_S = 10.0  # uv waits there for all that use its cache


async def install_beside(
    plan: InstallPlan, beside: Path, tool: PackageTool, cache: Path, *, deadline_s: float, fill_cache: FillCache
) -> tuple[str, ...]:
    """Install what `plan` lacks into ``beside/site``; the exact packages that were installed.

    `deadline_s` is for all of it. Raises `InstallFailed` with the reason that the tool gave, `CompilerMissing` where
    that was it; `beside` is then worth nothing.
    """
    run = _Run(beside, tool, cache, time.monotonic() + deadline_s)
    try:
        await fill_cache(run.cache, plan.missing, False)
        packages = await _resolve(run, plan)
        if packages:
            await fill_cache(run.cache, packages, True)
            await _install(run, packages, beside / "site")
    except CommandTimedOut as error:
        raise InstallFailed(_message(plan, tool, f"not done after {deadline_s:g} s", error.stderr)) from error
    except CommandFailed as error:
        message = _message(plan, tool, f"{tool.name} ended with status {error.returncode}", error.stderr)
        raise (CompilerMissing if compiler_is_missing(error.stderr) else InstallFailed)(message) from error
    except CommandError as error:
        raise InstallFailed(_message(plan, tool, str(error), "")) from error
    return packages


class _Run:
    """A tool in one directory, with one deadline for all its runs."""

    def __init__(self, beside: Path, tool: PackageTool, cache: Path, deadline: float) -> None:
        self.beside = beside
        self.tool = tool
        self._deadline = deadline
        self._environment = tool.environment(env.without_secrets(env.snapshot()), cache, beside)
        self.cache = Path(self._environment.get("UV_CACHE_DIR", cache))

    async def __call__(self, command: Sequence[str], deadline_s: float | None = None) -> CompletedCommand:
        left_s = max(self._deadline - time.monotonic(), 0)
        return await run_logged_subprocess(
            command,
            deadline_s=left_s if deadline_s is None else min(left_s, deadline_s),
            env=self._environment,
            cwd=self.beside,
            kept_bytes=_KEPT_BYTES,
        )

    async def despite_cache(self, command: Sequence[str], packages: Sequence[str]) -> CompletedCommand:
        """Run `command`, which concerns `packages`, and, should it fail over its cache, once more without."""
        try:
            return await self(command)
        except CommandFailed as error:
            if not self.tool.blames_cache(error.stderr):
                raise
            log.warning("%s's cache may be damaged; doing without", self.tool.name, extra=_DAMAGED)
            await self.forget(packages)
            return await self(self.tool.uncached(command))

    async def forget(self, packages: Sequence[str]) -> None:
        """Take packages whose files are damaged out of the cache; best effort."""
        command = self.tool.forget_command([_NAME.split(package, 1)[0] for package in packages])
        if command:
            try:
                await self(command, _FORGET_DEADLINE_S)
            except CommandError as error:
                log.warning("could not take damaged packages out of the cache: %s", error, extra=_DAMAGED)


async def _resolve(run: _Run, plan: InstallPlan) -> tuple[str, ...]:
    """What to install: with all of the base kept, or, if that cannot be, with only what is protected kept."""
    requirements = _listed(run.beside / "requirements.txt", plan.requirements)
    report = run.beside / "report.json"
    kept = _listed(run.beside / "base.txt", plan.base_pins)
    try:
        done = await run.despite_cache(run.tool.resolve_command(requirements, kept, report), plan.requirements)
    except CommandFailed as error:
        if not run.tool.is_conflict(error.stderr):
            raise
        protected = _listed(run.beside / "protected.txt", plan.protected_pins)
        done = await run.despite_cache(run.tool.resolve_command(requirements, protected, report), plan.requirements)
    return run.tool.resolved(done.stderr, report)


async def _install(run: _Run, packages: Sequence[str], site: Path) -> None:
    command = run.tool.install_command(_listed(run.beside / "resolved.txt", packages), site)
    await run.despite_cache(command, packages)
    if damaged := await asyncio.to_thread(damaged_packages, site):
        names = ", ".join(damaged)
        log.warning("%s's cache has damaged files of %s; getting them anew", run.tool.name, names, extra=_DAMAGED)
        await run.forget(damaged)
        await asyncio.to_thread(shutil.rmtree, site)
        await run(run.tool.uncached(command))
        if damaged := await asyncio.to_thread(damaged_packages, site):
            raise InstallFailed(f"the index gives damaged packages: {', '.join(damaged)}")


def _listed(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _message(plan: InstallPlan, tool: PackageTool, what: str, said: str) -> str:
    return f"could not install {plan.names}: {what}\n{tool.reason(said)}".rstrip()
