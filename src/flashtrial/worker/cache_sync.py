"""What a worker takes from the network volume and leaves there: layers, and its endpoint's share of uv's cache.

    environment_for ──▶ layer here? ──▶ layer on the volume? ──▶ resolve ──▶ packages from the volume ──▶ install
                                                                                                  │ after the answer
    volume ◀── Background: the layer, if nobody has changed it; what uv's cache holds of its packages

Taking may fail in any way: it is logged, and the worker goes on without. Leaving never delays an answer.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flashtrial.core import files
from flashtrial.core.clock import Clock, SystemClock
from flashtrial.process.environment import Environment
from flashtrial.worker.constants import LEASE_S, NAMESPACE
from flashtrial.worker.install.bundles import BundleDamaged, Bundles, Member, files_below
from flashtrial.worker.install.layer_check import damaged_packages
from flashtrial.worker.install.layer_manifest import FILE_NAME, extent, read_manifest
from flashtrial.worker.layers import Layers, discard

log = logging.getLogger(__name__)

_NO_ENDPOINT = "none"
_BUCKETS = ("archive-v*", "wheels-v*", "sdists-v*")
_NOT_PACKED = frozenset({"__pycache__", "src"})  # `src`: unpacked sources, of no use once the wheel is built


class CacheSync:
    """Layers and uv's cache on one volume, for one worker. Methods block: call them from a thread."""

    def __init__(
        self, volume: Path, endpoint: str, layers: Layers, clock: Clock | None = None, lease_s: float = LEASE_S
    ) -> None:
        root = volume / f".{NAMESPACE}"
        clock = clock or SystemClock()
        self._layers = layers
        self._stored = Bundles(root / "layers", clock, lease_s)
        own = root / "endpoints" / (Path(endpoint).name or _NO_ENDPOINT)
        self._wheels = Bundles(own / "uv-cache" / "wheels", clock, lease_s)
        self._built = Bundles(own / "uv-cache" / "built", clock, lease_s)

    def layer(self, key: str, stop: threading.Event) -> Environment | None:
        """The layer of that key from the volume, now on this machine; None when it has none that is good.

        The caller holds the key's lock. Raises `Stopped` when `stop` is set meanwhile.
        """
        if not self._stored.has(key):
            return None
        beside = self._layers.new_beside(key)
        try:
            environment = self._layers.adopt(beside, key) if self._stored.unpack(key, beside, stop) else None
        except (BundleDamaged, OSError) as error:
            log.warning("%s; building the layer instead", error, extra={"action": "volume_layer_unusable"})
            return None
        finally:
            discard(beside)
        if environment is not None:
            log.info("layer %s taken from the volume", key, extra={"action": "layer_hydrated"})
        return environment

    def fill_built(self, cache: Path, requirements: Iterable[str], stop: threading.Event) -> int:
        """Bring wheels that another worker built from source for these `requirements`; how many were brought.

        Before the resolution, which may build all that it looks at. Raises `Stopped` when `stop` is set meanwhile.
        """
        wanted: dict[str, Requirement] = {canonicalize_name(one.name): one for one in map(Requirement, requirements)}
        found = (tuple(name.rsplit("-", 2)) for name in self._built.names())
        fitting = (f"{name}=={version}" for name, version, _ in found if _allows(wanted.get(name), version))
        return sum(self._fill_one(cache, package, self._built, stop) for package in fitting)

    def fill(self, cache: Path, packages: Iterable[str], stop: threading.Event) -> int:
        """Bring what the volume has of `packages` (exact requirements) into uv's `cache`; how many were brought.

        Raises `Stopped` when `stop` is set meanwhile.
        """
        return sum(
            self._fill_one(cache, one, bundles, stop) for one in packages for bundles in (self._built, self._wheels)
        )

    def _fill_one(self, cache: Path, package: str, bundles: Bundles, stop: threading.Event) -> bool:
        name = _bundle_name(package)
        if not bundles.has(name) or _is_cached(cache, package):
            return False
        beside = files.ensure_private_dir(cache) / f".tmp-{name}-{secrets.token_hex(4)}"
        try:
            bundles.unpack(name, beside, stop)
            _move_in(beside, cache)
        except (BundleDamaged, OSError) as error:
            log.warning("%s; getting it from the index", error, extra={"action": "volume_package_unusable"})
            return False
        finally:
            discard(beside)
        log.info("%s taken from the volume's cache", package, extra={"action": "package_hydrated"})
        return True

    def publish_layer(self, key: str, stop: threading.Event) -> bool:
        """Leave that layer on the volume; whether we did. Raises `OSError` and `Stopped`, and then it is absent."""
        place = self._layers.place(key)
        members = lambda: [(place / FILE_NAME, FILE_NAME), *files_below(place / "site", "site")]  # noqa: E731
        done = self._stored.publish(key, members, stop, lambda: _is_as_built(place))
        if done:
            log.info("layer %s left on the volume", key, extra={"action": "layer_published"})
        return done

    def publish_package(self, cache: Path, package: str, stop: threading.Event) -> bool:
        """Leave what uv's `cache` holds of one exact requirement; whether we did. Raises as `publish_layer`."""
        kinds = {path.relative_to(cache).parts[0] for path in _pointers(cache, package)}
        if not kinds:
            return False
        bundles = self._built if any(kind.startswith("sdists") for kind in kinds) else self._wheels
        return bundles.publish(_bundle_name(package), lambda: _cached_members(cache, package), stop)


def _is_as_built(place: Path) -> bool:
    """Whether the layer is what its builder left: user code may have written into it."""
    manifest = read_manifest(place)
    whole = manifest is not None and extent(place / "site") == (manifest.file_count, manifest.size_bytes)
    if whole and not damaged_packages(place / "site"):
        return True
    log.warning("layer %s was written into; it stays on this machine", place.name, extra={"action": "layer_changed"})
    return False


def _allows(requirement: Requirement | None, version: str) -> bool:
    return requirement is not None and requirement.url is None and requirement.specifier.contains(version, True)


def _bundle_name(package: str) -> str:
    """A file name that stands for an exact requirement on this kind of machine."""
    facts = f"{package}\n{sys.implementation.cache_tag}\n{sysconfig.get_platform()}"
    spelled, _, version = package.partition(" ")[0].partition("==")
    return f"{canonicalize_name(spelled)}-{version or 'address'}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def _pointers(cache: Path, package: str) -> Iterator[Path]:
    """Where uv's cache speaks of that name and version: ``wheels-v8/pypi/<name>/<version>-…``, one level more for other
    indexes; ``sdists-v11/pypi/<name>/<version>``. An address has no version in its path."""
    spelled, _, version = package.partition(" ")[0].partition("==")
    name = canonicalize_name(spelled)
    for kind, wanted in (("wheels-v*", f"{version}-*" if version else "*"), ("sdists-v*", version or "*")):
        for depth in ("*", "*/*"):
            yield from cache.glob(f"{kind}/{depth}/{name}/{wanted}")


def _is_cached(cache: Path, package: str) -> bool:
    return any(_pointers(cache, package))


def _cached_members(cache: Path, package: str) -> Iterator[Member]:
    """The unpacked wheels that the pointers of `package` lead to, then the pointers."""
    pointers: list[Path] = []
    for start in _pointers(cache, package):
        inside = start.is_dir() and not start.is_symlink()
        pointers += [path for path, _ in files_below(start, "", _NOT_PACKED)] if inside else [start]
    archives = {pointer.resolve() for pointer in pointers if pointer.is_symlink()}
    for archive in sorted(path for path in archives if path.parent.parent == cache.resolve() and path.is_dir()):
        yield from files_below(archive, str(archive.relative_to(cache.resolve())))
    for pointer in pointers:
        yield pointer, str(pointer.relative_to(cache))


def _move_in(staged: Path, cache: Path) -> None:
    """Put what was unpacked in its place: whole archives first, then what points to them. What is there stays."""
    for bucket in (found for pattern in _BUCKETS for found in staged.glob(pattern)):
        if bucket.name.startswith("archive"):
            for archive in bucket.iterdir():
                _move(archive, cache / bucket.name / archive.name)
        else:
            for pointer, name in files_below(bucket, bucket.name):
                _move(pointer, cache / name)


def _move(source: Path, target: Path) -> None:
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            source.rename(target)
