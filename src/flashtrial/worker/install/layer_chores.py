"""What is done about layers when the answer is on its way: left on the volume, kept within the disk budget."""

import asyncio
import logging
from pathlib import Path

from flashtrial.core import env
from flashtrial.process.subprocess_utils import CommandError, run_logged_subprocess
from flashtrial.worker.cache_sync import CacheSync
from flashtrial.worker.install.background import Background
from flashtrial.worker.install.layer_budget import enforce_budget, unshared_packages
from flashtrial.worker.install.layer_manifest import read_manifest
from flashtrial.worker.install.uv_commands import Uv, with_settings
from flashtrial.worker.layers import Layers

log = logging.getLogger(__name__)

_CLEAN_DEADLINE_S = 120.0


class LayerChores:
    """Hands work to `background`; nothing here blocks its caller."""

    def __init__(
        self, layers: Layers, cache: Path, volume: CacheSync | None, limit_bytes: int, background: Background
    ) -> None:
        self._layers = layers
        self._own_cache = cache
        self._volume = volume
        self._limit_bytes = limit_bytes
        self._background = background

    def after(self, key: str, *, is_new: bool) -> None:
        """A layer came into use; `is_new` on this machine."""
        if self._volume is not None:
            self._background.submit(f"publishing layer {key}", lambda: self._publish(key))
        if is_new:
            self._background.submit("keeping layers within their budget", self._keep_within_budget)

    def released(self) -> None:
        """A layer went out of use, and may go where there is no room."""
        self._background.submit("keeping layers within their budget", self._keep_within_budget)

    def _publish(self, key: str) -> None:
        manifest = read_manifest(self._layers.place(key))
        if self._volume is None or manifest is None:
            return
        self._volume.publish_layer(key, self._background.stopping)
        for package in manifest.packages:
            self._volume.publish_package(self._cache(), package, self._background.stopping)

    def _keep_within_budget(self) -> None:
        removed = enforce_budget(self._layers, self._limit_bytes)
        # The files of a layer are links into uv's cache: they take their place until they are gone from there, too.
        names = unshared_packages(removed, self._layers) if self._cache() == self._own_cache else []
        if names:
            asyncio.run(self._forget(names))

    async def _forget(self, names: list[str]) -> None:
        environment = with_settings(env.without_secrets(env.snapshot()), self._own_cache)
        try:
            await run_logged_subprocess(Uv().forget_command(names), deadline_s=_CLEAN_DEADLINE_S, env=environment)
        except CommandError as error:
            log.warning("could not take %s out of uv's cache: %s", ", ".join(names), error)

    def _cache(self) -> Path:
        return Path(env.get("UV_CACHE_DIR") or self._own_cache)
