"""Installing what is pinned while it is not yet known what comes with it."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from flashtrial.process.subprocess_utils import CompletedCommand
from flashtrial.worker.install.tool_run import ToolRun


class EarlyInstall:
    """One installation under way, of packages that the resolution will most likely name. Made by `early_install`."""

    def __init__(self, task: asyncio.Task[CompletedCommand] | None, pinned: Sequence[str], site: Path) -> None:
        self._task = task
        self._pinned = frozenset(map(_identity, pinned))
        self._site = site

    async def rest_of(self, packages: Sequence[str]) -> tuple[str, ...]:
        """Wait for it; what of `packages` (exact requirements) is still to be installed into the site.

        Raises what the installation raises. When it was of something else than is needed, the site is empty again.
        """
        if self._task is None:
            return tuple(packages)
        rest = tuple(one for one in packages if "@" in one or _identity(one) not in self._pinned)
        if len(packages) - len(rest) == len(self._pinned):
            await self._task
            return rest
        await self.end()
        await asyncio.to_thread(_empty, self._site)
        return tuple(packages)

    async def end(self) -> None:
        """Stop it, if it has not ended. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@contextlib.asynccontextmanager
async def early_install(run: ToolRun, pinned: Sequence[str], site: Path) -> AsyncIterator[EarlyInstall]:
    """Inside the block, `pinned` are being installed into `site`, where the tool can add to a site later."""
    task = None
    if pinned and run.tool.adds_to_site:
        command = run.tool.install_command(run.listed("pinned.txt", pinned), site)
        task = asyncio.create_task(run.from_cache_first(command, pinned))
    early = EarlyInstall(task, pinned, site)
    try:
        yield early
    finally:
        await early.end()


def _identity(pinned: str) -> tuple[str, Version]:
    requirement = Requirement(pinned)
    (specifier,) = requirement.specifier
    return canonicalize_name(requirement.name), Version(specifier.version)


def _empty(site: Path) -> None:
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(exist_ok=True)
