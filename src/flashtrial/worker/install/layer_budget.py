"""Disk for layers: the least recently used go when all together are too large. Never one that a process uses."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from flashtrial.worker.install.layer_manifest import read_manifest
from flashtrial.worker.layers import IN_USE, Layers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """One layer on disk, as the budget sees it; the sizes are those of its files, links counted as copies."""

    key: str
    packages: tuple[str, ...]
    size_bytes: int
    last_used: float


def enforce_budget(layers: Layers, limit_bytes: int) -> tuple[StoredLayer, ...]:
    """Remove layers, least recently used first, until the rest fits in `limit_bytes`; those that were removed.

    Layers in use stay, though the limit be exceeded. Call from a thread.
    """
    stored = sorted(_stored(layers), key=lambda layer: layer.last_used)
    total = sum(layer.size_bytes for layer in stored)
    removed = []
    for layer in stored:
        if total > limit_bytes and layers.remove(layer.key):
            total -= layer.size_bytes
            removed.append(layer)
            extra = {"action": "layer_removed"}
            log.info("removed layer %s (%d bytes), least recently used", layer.key, layer.size_bytes, extra=extra)
    if total > limit_bytes:
        log.warning("layers in use take %d bytes, more than the limit of %d", total, limit_bytes)
    return tuple(removed)


def unshared_packages(removed: tuple[StoredLayer, ...], layers: Layers) -> list[str]:
    """Names of the packages that only the removed layers held: what uv's cache need not keep for anybody."""
    kept = {_name(package) for layer in _stored(layers) for package in layer.packages}
    return sorted({_name(package) for layer in removed for package in layer.packages} - kept)


def _stored(layers: Layers) -> Iterator[StoredLayer]:
    for key in layers.keys():  # noqa: SIM118 - it is no mapping
        manifest = read_manifest(layers.place(key))
        try:
            last_used = (layers.place(key) / IN_USE).stat().st_mtime
        except OSError:  # built by an earlier version, or just removed
            last_used = 0.0
        if manifest is not None:
            yield StoredLayer(key, manifest.packages, manifest.size_bytes, last_used)


def _name(package: str) -> str:
    return package.replace("==", " ").split()[0]
