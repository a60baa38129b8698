"""The installer, imported and built when a request first names dependencies: most requests name none.

Its imports (requirement parsing, uv, tar bundles) take a tenth of a second of a worker's start.
"""

import asyncio
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flashtrial.process.environment import BASE, Environment

if TYPE_CHECKING:
    from flashtrial.worker.dependency_installer import DependencyInstaller


class Installer(Protocol):
    """Whoever turns dependencies into an environment; `DependencyInstaller` does."""

    async def environment_for(
        self,
        dependencies: Sequence[str] | None,
        system_dependencies: Sequence[str] | None = None,
        accelerate: bool = True,
        /,
    ) -> Environment: ...


class InstallerOnDemand:
    """The `DependencyInstaller` of one home, as soon as there is need of one."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._installer: DependencyInstaller | None = None

    async def environment_for(
        self,
        dependencies: Sequence[str] | None,
        system_dependencies: Sequence[str] | None = None,
        accelerate: bool = True,
    ) -> Environment:
        """The environment to run a request in; see `DependencyInstaller.environment_for`."""
        if not dependencies and not system_dependencies:
            return BASE
        installer = self._installer or await self._made()
        return await installer.environment_for(dependencies, system_dependencies, accelerate)

    def release(self, key: str) -> None:
        """No process of ours uses that environment; see `DependencyInstaller.release`."""
        if self._installer is not None:
            self._installer.release(key)

    def close(self) -> None:
        """Let what was begun in the background end, within its deadline. Blocks."""
        if self._installer is not None:
            self._installer.close()

    async def _made(self) -> "DependencyInstaller":
        module = await asyncio.to_thread(importlib.import_module, "flashtrial.worker.dependency_installer")
        if self._installer is None:  # another request may have been quicker
            made: DependencyInstaller = module.DependencyInstaller(self._home)
            self._installer = made
        return self._installer
