"""A layer that is not on this machine: taken from the volume, or built. The caller holds the key's lock."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from flashtrial.process.environment import Environment
from flashtrial.worker.cache_sync import CacheSync
from flashtrial.worker.constants import COMPILER_PACKAGES
from flashtrial.worker.install.bundles import Stopped
from flashtrial.worker.install.install_errors import CompilerMissing, InstallFailed
from flashtrial.worker.install.install_plan import InstallPlan
from flashtrial.worker.install.layer_build import install_beside
from flashtrial.worker.install.package_tool import PackageTool
from flashtrial.worker.install.system_packages import SystemPackages
from flashtrial.worker.layers import Layers, discard

T = TypeVar("T")

log = logging.getLogger(__name__)

_STOP_GRACE_S = 5.0


class LayerMaker:
    """Makes layers; one key at a time is made once, others at the same time."""

    def __init__(
        self, layers: Layers, cache: Path, system: SystemPackages, volume: CacheSync | None, deadline_s: float
    ) -> None:
        self._layers = layers
        self._cache = cache
        self._system = system
        self._volume = volume
        self._deadline_s = deadline_s

    async def from_volume(self, key: str) -> Environment | None:
        """The layer as another worker left it; None when there is none that is good, or it takes too long."""
        volume = self._volume
        if volume is None:
            return None
        return await _in_time(lambda stop: volume.layer(key, stop), self._deadline_s)

    async def build(self, plan: InstallPlan, tool: PackageTool, accelerate: bool) -> Environment:
        """The layer, installed anew. Raises `InstallFailed`."""
        started = time.monotonic()
        log.info("installing %s into layer %s (%s)", plan.names, plan.key, tool.name, extra={"action": "layer_started"})
        try:
            environment, packages = await self._build_once(plan, tool)
        except CompilerMissing as missing:
            await self._install_compiler(missing, accelerate)
            environment, packages = await self._build_once(plan, tool)
        duration_s = time.monotonic() - started
        ready = "layer %s ready in %.1f s, %d packages: %s"
        log.info(ready, plan.key, duration_s, len(packages), ", ".join(packages), extra={"action": "layer_ready"})
        return environment

    async def _build_once(self, plan: InstallPlan, tool: PackageTool) -> tuple[Environment, tuple[str, ...]]:
        beside = self._layers.new_beside(plan.key)
        try:
            packages = await install_beside(
                plan, beside, tool, self._cache, deadline_s=self._deadline_s, fill_cache=self._fill_cache
            )
            environment = await _uninterrupted(self._layers.publish, beside, plan.key, plan.requirements, packages)
        finally:
            await asyncio.to_thread(discard, beside)
        return environment, packages

    async def _install_compiler(self, missing: CompilerMissing, accelerate: bool) -> None:
        """Bring what builds need, so that the installation can be tried once more. Raises `InstallFailed`."""
        names = ", ".join(COMPILER_PACKAGES)
        if not self._system.can_install:
            raise InstallFailed(f"{missing}\nthere is no compiler, and the worker cannot install {names}") from missing
        log.info("a package needs a compiler; installing %s", names, extra={"action": "compiler_missing"})
        try:
            await self._system.ensure(COMPILER_PACKAGES, accelerate)
        except InstallFailed as failed:
            raise InstallFailed(f"{missing}\nthere is no compiler: {failed}") from missing

    async def _fill_cache(self, cache: Path, wanted: Sequence[str], resolved: bool) -> None:
        if self._volume is not None:
            fill = self._volume.fill if resolved else self._volume.fill_built
            await _in_time(lambda stop: fill(cache, wanted, stop), self._deadline_s)


async def _in_time(work: Callable[[threading.Event], T], deadline_s: float) -> T | None:
    """What `work` gives in a thread, or None after `deadline_s`; its event is set then, and when we are cancelled.

    A thread that hangs in a read of a dead volume cannot be ended: it is left behind after a grace.
    """
    stop = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        with contextlib.suppress(Stopped, TimeoutError):
            return await asyncio.wait_for(asyncio.shield(task), deadline_s)
        return None
    finally:
        stop.set()
        await asyncio.wait([task], timeout=_STOP_GRACE_S)
        if task.done() and not task.cancelled():
            task.exception()  # looked at, or asyncio complains


async def _uninterrupted(work: Callable[..., T], *arguments: object) -> T:
    """The result of `work` in a thread; a cancellation waits for its end.

    What a thread publishes must not be discarded under its hands: the removal would follow it to its final name.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
