"""Running an installer for one layer: resolve over the base, and install exactly that beside.

What is pinned is installed while it and the rest are resolved: uv takes 50 to 100 ms each time to get going.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from flashtrial.process.subprocess_utils import CommandError, CommandFailed, CommandTimedOut
from flashtrial.worker.install.build_errors import compiler_is_missing
from flashtrial.worker.install.early_install import early_install
from flashtrial.worker.install.install_errors import CompilerMissing, InstallFailed
from flashtrial.worker.install.install_plan import InstallPlan
from flashtrial.worker.install.layer_check import damaged_packages
from flashtrial.worker.install.package_tool import PackageTool
from flashtrial.worker.install.tool_run import CACHE_DAMAGED, ToolRun

log = logging.getLogger(__name__)

FillCache = Callable[[Path, Sequence[str], bool], Awaitable[None]]
"""Told uv's cache and what is wanted: requirements before they are resolved, exact packages (True) before they are
installed."""


async def install_beside(
    plan: InstallPlan, beside: Path, tool: PackageTool, cache: Path, *, deadline_s: float, fill_cache: FillCache
) -> tuple[str, ...]:
    """Install what `plan` lacks into ``beside/site``; the exact packages that were installed.

    `deadline_s` is for all of it. Raises `InstallFailed` with the reason that the tool gave, `CompilerMissing` where
    that was it; `beside` is then worth nothing.
    """
    run = ToolRun(beside, tool, cache, time.monotonic() + deadline_s)
    try:
        await fill_cache(run.cache, plan.missing, False)
        await fill_cache(run.cache, plan.pinned, True)
        async with early_install(run, plan.pinned, beside / "site") as early:
            packages = await _resolve(run, plan)
            rest = await early.rest_of(packages)
        await fill_cache(run.cache, rest, True)
        await _install(run, rest, packages, beside / "site")
    except CommandTimedOut as error:
        raise InstallFailed(_message(plan, tool, f"not done after {deadline_s:g} s", error.stderr)) from error
    except CommandFailed as error:
        message = _message(plan, tool, f"{tool.name} ended with status {error.returncode}", error.stderr)
        raise (CompilerMissing if compiler_is_missing(error.stderr) else InstallFailed)(message) from error
    except CommandError as error:
        raise InstallFailed(_message(plan, tool, str(error), "")) from error
    return packages


async def _resolve(run: ToolRun, plan: InstallPlan) -> tuple[str, ...]:
    """What to install: with all of the base kept, or, if that cannot be, with only what is protected kept."""
    ask = run.from_cache_first if plan.pinned == plan.missing else run.despite_cache
    requirements = run.listed("requirements.txt", plan.requirements)
    report = run.beside / "report.json"
    kept = run.listed("base.txt", plan.base_pins)
    try:
        done = await ask(run.tool.resolve_command(requirements, kept, report), plan.requirements)
    except CommandFailed as error:
        if not run.tool.is_conflict(error.stderr):
            raise
        protected = run.listed("protected.txt", plan.protected_pins)
        done = await ask(run.tool.resolve_command(requirements, protected, report), plan.requirements)
    return run.tool.resolved(done.stderr, report)


async def _install(run: ToolRun, rest: Sequence[str], packages: Sequence[str], site: Path) -> None:
    """Install the `rest` of `packages`, and check them all."""
    if rest:
        await run.from_cache_first(run.tool.install_command(run.listed("rest.txt", rest), site), rest)
    if damaged := await asyncio.to_thread(damaged_packages, site):
        names = ", ".join(damaged)
        log.warning("%s's cache has damaged files of %s; getting them anew", run.tool.name, names, extra=CACHE_DAMAGED)
        await run.forget(damaged)
        await asyncio.to_thread(shutil.rmtree, site)
        command = run.tool.install_command(run.listed("resolved.txt", packages), site)
        await run(run.tool.uncached(command))
        if damaged := await asyncio.to_thread(damaged_packages, site):
            raise InstallFailed(f"the index gives damaged packages: {', '.join(damaged)}")


def _message(plan: InstallPlan, tool: PackageTool, what: str, said: str) -> str:
    return f"could not install {plan.names}: {what}\n{tool.reason(said)}".rstrip()
