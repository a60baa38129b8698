"""Dependencies of a request → the environment to run it in.

Nothing missing: the base, and no subprocess. Otherwise a layer, found or built once for all who ask for it at the same
time, in this process (one task per key) and in others (one file lock per key).

    plan (pure) → uv: resolve over the base → uv: install beside → manifest, rename into place → Environment
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flashtrial.core import files
from flashtrial.process.environment import BASE, Environment
from flashtrial.worker.base_packages import BasePackages
from flashtrial.worker.constants import INSTALL_DEADLINE_S
from flashtrial.worker.install_errors import InstallFailed
from flashtrial.worker.install_plan import InstallPlan, plan_install
from flashtrial.worker.layer_build import install_beside
from flashtrial.worker.layers import Layers, discard
from flashtrial.worker.requirements import parse
from flashtrial.worker.system_packages import SystemPackages

T = TypeVar("T")

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


@dataclass(slots=True)
class _Build:
    task: asyncio.Task[Environment]
    waiters: int = field(default=0)


class DependencyInstaller:
    """Owns the layers of one home directory, as far as this process is concerned. One event loop at a time."""

    def __init__(self, home: Path, *, base: BasePackages | None = None, deadline_s: float = INSTALL_DEADLINE_S) -> None:
        self._cache = home / "cache" / "uv"
        self._layers = Layers(home / "layers")
        self._base = base or BasePackages()
        self._system = SystemPackages()
        self._deadline_s = deadline_s
        self._ready: dict[str, Environment] = {}
        self._builds: dict[str, _Build] = {}
        self._swept = False

    async def environment_for(
        self,
        dependencies: Sequence[str] | None,
        system_dependencies: Sequence[str] | None = None,
        accelerate: bool = True,
    ) -> Environment:
        """The environment in which `dependencies` can be imported; `BASE` when they can be without a layer.

        Cancelled, it ends the installation unless others wait for the same. Raises `RequirementRefused` before
        anything runs, and `InstallFailed`; both carry a `kind`.
        """
        requirements = parse(tuple(dependencies or ()))
        if system_dependencies:
            await self._system.ensure(system_dependencies)
        plan = plan_install(requirements, self._base.current()) if requirements else None
        if plan is None:
            return BASE
        if not accelerate:
            log.info("accelerate_downloads is false, but there is one installer: uv", extra={"action": "uv_anyway"})
        return self._known(plan.key) or await self._shared(plan)

    def _known(self, key: str) -> Environment | None:
        environment = self._ready.get(key)
        return environment if environment and all(path.is_dir() for path in environment.paths) else None

    async def _shared(self, plan: InstallPlan) -> Environment:
        """What the one build of this plan gives; the last waiter to leave ends it."""
        build = self._builds.get(plan.key)
        if build is None:
            build = self._builds[plan.key] = _Build(asyncio.create_task(self._found_or_built(plan)))
        build.waiters += 1
        try:
            self._ready[plan.key] = await asyncio.shield(build.task)
        finally:
            build.waiters -= 1
            if not build.waiters:
                self._builds.pop(plan.key)
                build.task.cancel()
                await asyncio.gather(build.task, return_exceptions=True)
        return self._ready[plan.key]

    async def _found_or_built(self, plan: InstallPlan) -> Environment:
        try:
            await self._sweep_once()
            async with self._locked(plan):
                return await asyncio.to_thread(self._layers.find, plan.key) or await self._build(plan)
        except OSError as error:
            raise InstallFailed(f"could not install {_names(plan)}: {error}") from error

    async def _sweep_once(self) -> None:
        if not self._swept:
            self._swept = True
            await asyncio.to_thread(self._layers.sweep)

    @contextlib.asynccontextmanager
    async def _locked(self, plan: InstallPlan) -> AsyncIterator[None]:
        """Hold the key's file lock, asked for again and again: a thread that blocks on it could not be cancelled."""
        deadline = time.monotonic() + self._deadline_s
        pause_s = _FIRST_PAUSE_S
        with contextlib.ExitStack() as stack:
            while not self._entered(stack, plan):
                if time.monotonic() > deadline:
                    raise InstallFailed(f"another process has been installing {_names(plan)} for too long")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            yield

    def _entered(self, stack: contextlib.ExitStack, plan: InstallPlan) -> bool:
        try:
            stack.enter_context(files.file_lock(self._layers.lock_path(plan.key), wait=False))
        except files.Locked:
            return False
        return True

    async def _build(self, plan: InstallPlan) -> Environment:
        started = time.monotonic()
        log.info("installing %s into layer %s (uv)", _names(plan), plan.key, extra={"action": "layer_started"})
        beside = self._layers.new_beside(plan.key)
        try:
            packages = await install_beside(plan, beside, self._cache, self._deadline_s)
            environment = await _uninterrupted(
                asyncio.to_thread(self._layers.publish, beside, plan.key, plan.requirements, packages)
            )
        finally:
            await asyncio.to_thread(discard, beside)
        duration_s = time.monotonic() - started
        ready = "layer %s ready in %.1f s, %d packages: %s"
        log.info(ready, plan.key, duration_s, len(packages), ", ".join(packages), extra={"action": "layer_ready"})
        return environment


async def _uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; a cancellation waits for its end.

    What a thread publishes must not be discarded under its hands: the removal would follow it to its final name.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _names(plan: InstallPlan) -> str:
    return ", ".join(plan.missing)
