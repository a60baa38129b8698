"""Dependencies of a request → the environment to run it in.

Nothing missing: the base, and no subprocess. Otherwise a layer, found or made once for all who ask for it at the same
time, in this process (one task per key) and in others (one file lock per key).

    plan (pure) → held by us? → on this machine? → on the volume? → resolve over the base, install beside, rename
                                                                              │ when the answer is on its way
                                       left on the volume; least recently used layers removed ◀┘
"""

import asyncio
import contextlib
import logging
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from flashtrial.core import env, files
from flashtrial.process.environment import BASE, Environment
from flashtrial.worker.cache_sync import CacheSync
from flashtrial.worker.constants import CHILD_MODULES, CLOSE_DEADLINE_S
from flashtrial.worker.install.background import Background
from flashtrial.worker.install.base_packages import BasePackages
from flashtrial.worker.install.install_errors import InstallFailed
from flashtrial.worker.install.install_plan import InstallPlan, plan_install
from flashtrial.worker.install.install_settings import InstallSettings
from flashtrial.worker.install.layer_chores import LayerChores
from flashtrial.worker.install.layer_maker import LayerMaker
from flashtrial.worker.install.package_tool import PackageTool
from flashtrial.worker.install.pip_commands import Pip, has_usable_pip
from flashtrial.worker.install.requirements import parse
from flashtrial.worker.install.shared_builds import SharedBuilds
from flashtrial.worker.install.system_packages import SystemPackages
from flashtrial.worker.install.uv_commands import Uv
from flashtrial.worker.layers import LayerHold, Layers

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25

_SOURCES = (
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"),
)


class DependencyInstaller:
    """Owns the layers of one home directory, as far as this process is concerned. One event loop at a time.

    Every layer that it gave out stays on disk until `release`, `close`, or the end of the process.
    """

    def __init__(
        self,
        home: Path,
        *,
        base: BasePackages | None = None,
        settings: InstallSettings | None = None,
        system: SystemPackages | None = None,
    ) -> None:
        settings = settings or InstallSettings.from_environment()
        self._base = base or BasePackages()
        self._deadline_s = settings.deadline_s
        self._system = system or SystemPackages(settings.system_deadline_s)
        self._layers = Layers(home / "layers")
        cache = home / "cache" / "uv"
        volume = _volume(settings, home, self._layers)
        self._maker = LayerMaker(self._layers, cache, self._system, volume, settings.deadline_s)
        self._background = Background("flashtrial-layers")
        self._chores = LayerChores(self._layers, cache, volume, settings.layers_bytes, self._background)
        self._held: dict[str, tuple[Environment, LayerHold]] = {}
        self._builds = SharedBuilds()
        self._swept = False

    async def environment_for(
        self,
        dependencies: Sequence[str] | None,
        system_dependencies: Sequence[str] | None = None,
        accelerate: bool = True,
    ) -> Environment:
        """The environment in which `dependencies` can be imported; `BASE` when they can be without a layer.

        Without `accelerate`, pip and apt-get are used, with it uv and, for large system packages, nala. Cancelled, it
        ends the installation unless others wait for the same. Raises `RequirementRefused` before anything runs, and
        `InstallFailed`; both carry a `kind`.
        """
        requirements = parse(tuple(dependencies or ()))
        if system_dependencies:
            await self._system.ensure(system_dependencies, accelerate)
        if not requirements:
            return BASE
        plan = plan_install(requirements, self._base.current(), _sources())
        if plan is None:
            return BASE
        return self._of_ours(plan.key) or await self._builds.join(
            plan.key, lambda: self._found_or_made(plan, accelerate)
        )

    def release(self, key: str) -> None:
        """No process of ours uses the environment of that key, and none is about to: its layer may be removed."""
        if held := self._held.pop(key, None):
            held[1].release()
            self._chores.released()

    def close(self, deadline_s: float = CLOSE_DEADLINE_S) -> bool:
        """Release all layers, and finish what is being left on the volume, up to `deadline_s`; whether it all was.

        Blocks. Safe to call twice.
        """
        for _environment, hold in self._held.values():
            hold.release()
        self._held.clear()
        return self._background.close(deadline_s)

    def _of_ours(self, key: str) -> Environment | None:
        environment, hold = self._held.get(key, (None, None))
        if environment is None or hold is None or not all(path.is_dir() for path in environment.paths):
            return None
        hold.touch()
        return environment

    async def _found_or_made(self, plan: InstallPlan, accelerate: bool) -> Environment:
        try:
            await self._sweep_once()
            async with self._locked(plan):
                found = await asyncio.to_thread(self._layers.find, plan.key)
                environment = (
                    found
                    or await self._maker.from_volume(plan.key)
                    or await self._maker.build(plan, self._tool(accelerate), accelerate)
                )
                self._hold(environment)
        except OSError as error:
            raise InstallFailed(f"could not install {plan.names}: {error}") from error
        self._chores.after(plan.key, is_new=found is None)
        if unused := CHILD_MODULES & set(environment.packages):
            what = "the layer's %s is not used: calls run with the worker's own"
            log.warning(what, ", ".join(sorted(unused)), extra={"action": "module_not_replaced"})
        return environment

    def _hold(self, environment: Environment) -> None:
        before = self._held.pop(environment.key, None)
        self._held[environment.key] = environment, self._layers.hold(environment.key)
        if before:
            before[1].release()

    def _tool(self, accelerate: bool) -> PackageTool:
        if not accelerate and has_usable_pip(self._base.current()):
            return Pip(self._base.python)
        if not accelerate:
            message = "accelerate_downloads is false, but this interpreter has no pip that can be used: using uv"
            log.info(message, extra={"action": "uv_anyway"})
        return Uv(self._base.python)

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
                    raise InstallFailed(f"another process has been installing {plan.names} for too long")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            yield

    def _entered(self, stack: contextlib.ExitStack, plan: InstallPlan) -> bool:
        try:
            stack.enter_context(files.file_lock(self._layers.lock_path(plan.key), wait=False))
        except files.Locked:
            return False
        return True


def _volume(settings: InstallSettings, home: Path, layers: Layers) -> CacheSync | None:
    if settings.volume is None or home.resolve().is_relative_to(settings.volume.resolve()):
        return None
    if not hasattr(tarfile, "data_filter"):
        log.warning("the volume is not used: Python %s cannot unpack safely", sys.version.split()[0])
        return None
    return CacheSync(settings.volume, settings.endpoint, layers)


def _sources() -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name in _SOURCES if (value := env.get(name)))
