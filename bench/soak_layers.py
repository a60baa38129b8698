"""Kill processes that build layers, or leave them on a volume, at random moments, and look at what they left.

    .venv/bin/python bench/soak_layers.py --kills 1000 --seed 1

No network: the packages are made here. The moments are drawn from the seed, uniformly over the time that an undisturbed
run takes; machines differ, so the same seed need not hit the same instruction. Ends with status 1 when something was
half-built under its final name, or when the call after a kill did not work.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from flashtrial.core.clock import SystemClock
from flashtrial.worker.cache_sync import CacheSync
from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.bundles import Bundles
from flashtrial.worker.install.install_settings import InstallSettings
from flashtrial.worker.install.layer_check import damaged_packages
from flashtrial.worker.install.layer_manifest import extent, manifest_of_whole
from flashtrial.worker.layers import Layers
from testkit.wheels import make_wheel, offline

WANTED = ["alpha", "beta", "gamma"]
PINNED = [f"{name}==1.0" for name in WANTED]  # installed while they are resolved
FILES_EACH = 20
LEASE_S = 0.1
GO = threading.Event()


@dataclass
class Tally:
    """What was seen."""

    kills: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    half_built: list[str] = field(default_factory=list)
    next_failed: list[str] = field(default_factory=list)


class Ground:
    """One directory with a home, a volume and packages; a process is killed on it again and again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.volume = root / "volume"
        self.dependencies = WANTED
        for name in WANTED:
            files = {f"{name}/m{number}.py": f"x = {number}\n" * 50 for number in range(FILES_EACH)}
            make_wheel(root / "links", name, files={f"{name}/__init__.py": f"name = {name!r}\n", **files})
        os.environ.update(offline(root / "links"))
        os.environ.pop("UV_CACHE_DIR", None)

    def build(self) -> None:
        """One call in this process, to its end; the layer must be what was asked for."""
        installer = DependencyInstaller(self.home, settings=InstallSettings())
        try:
            environment = asyncio.run(installer.environment_for(self.dependencies))
        finally:
            installer.close()
        site = environment.paths[0]
        count, _ = extent(site)
        assert environment.packages == tuple(WANTED), environment
        assert count >= len(WANTED) * (FILES_EACH + 1), count
        assert not damaged_packages(site)

    def sync(self, home: Path) -> CacheSync:
        return CacheSync(self.volume, "ep", Layers(home / "layers"), lease_s=LEASE_S)

    def publish(self) -> None:
        """Leave the layer of the home, and its packages, on the volume."""
        sync = self.sync(self.home)
        for key in self.keys():
            sync.publish_layer(key, GO)
        for name in WANTED:
            sync.publish_package(self.home / "cache" / "uv", f"{name}==1.0", GO)

    def publish_and_take(self) -> None:
        """The next worker publishes when the lease of the dead one has expired; the one after it takes the layer."""
        (key,) = self.keys()
        stored = self.volume / ".flashtrial" / "layers" / key
        deadline = time.monotonic() + 20
        while not stored.exists() and time.monotonic() < deadline:
            self.publish()
            time.sleep(LEASE_S / 4)
        taker = self.root / "taker"
        (taker / "layers").mkdir(parents=True)
        taken = self.sync(taker).layer(key, GO)
        assert taken is not None
        assert taken.packages == tuple(WANTED)
        shutil.rmtree(taker)

    def keys(self) -> list[str]:
        return Layers(self.home / "layers").keys()

    def half_built(self) -> list[str]:
        """What has its final name and is not whole."""
        layers = [self.home / "layers" / key for key in self.keys()]
        bad = [str(place) for place in layers if not manifest_of_whole(place) or damaged_packages(place / "site")]
        for root in self.volume.rglob("content.tar"):
            if not root.parent.name.startswith("."):
                bundles = Bundles(root.parents[1], SystemClock())
                if not bundles.is_whole(root.parent.name):
                    bad.append(str(root.parent))
        return bad

    def clear(self, *, cache: bool) -> None:
        """Back to the start; with `cache` uv's goes as well, so that it is killed while it fills it."""
        for path in (self.home / "layers", self.volume):
            shutil.rmtree(path, ignore_errors=True)
        if cache:
            shutil.rmtree(self.home / "cache", ignore_errors=True)


def start(work: Callable[[], None]) -> int:
    """A process that does `work`; forked, so that it begins at once."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        work()
        status = 0
    finally:
        os._exit(status)


def kill(pid: int, *, family: bool) -> None:
    """SIGKILL, to the process alone (its installer goes on as an orphan) or to all that it started as well."""
    with contextlib.suppress(psutil.Error):
        victims = psutil.Process(pid).children(recursive=True) if family else []
        os.kill(pid, signal.SIGKILL)
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                victim.kill()
    os.waitpid(pid, 0)


def seconds(work: Callable[[], None]) -> float:
    """How long a process takes that is left alone."""
    started = time.monotonic()
    _, status = os.waitpid(start(work), 0)
    assert status == 0, "the undisturbed run fails"
    return time.monotonic() - started


def seen(ground: Ground) -> str:
    """How far the victim had come."""
    if ground.half_built():
        return "half-built"
    if ground.keys():
        return "finished"
    beside = [path for path in (ground.home / "layers").glob(".*.*") if path.is_dir()]
    if not beside:
        return "not begun"
    return "installing" if any((beside[0] / "site").glob("*")) else "resolving"


def kill_a_builder(ground: Ground, rng: random.Random, whole_s: float, tally: Tally) -> None:
    pid = start(ground.build)
    time.sleep(rng.uniform(0, 1.1 * whole_s))
    kill(pid, family=rng.random() < 0.5)
    tally.found[seen(ground)] += 1
    after(ground, tally, ground.build)


def kill_one_of_two(ground: Ground, rng: random.Random, whole_s: float, tally: Tally) -> None:
    victim, other = start(ground.build), start(ground.build)
    time.sleep(rng.uniform(0, 1.5 * whole_s))
    kill(victim, family=rng.random() < 0.5)
    _, status = os.waitpid(other, 0)
    if status:
        tally.next_failed.append("the other of two installers failed")
    after(ground, tally, ground.build)


def kill_a_publisher(ground: Ground, rng: random.Random, whole_s: float, tally: Tally) -> None:
    ground.build()
    pid = start(ground.publish)
    time.sleep(rng.uniform(0, 1.1 * whole_s))
    kill(pid, family=True)
    after(ground, tally, ground.publish_and_take)


def after(ground: Ground, tally: Tally, next_call: Callable[[], None]) -> None:
    """Look at what was left, then make the next call."""
    tally.half_built += ground.half_built()
    try:
        next_call()
    except Exception as error:  # noqa: BLE001 - counted, and told at the end
        tally.next_failed.append(f"{type(error).__name__}: {error}")
    tally.half_built += ground.half_built()


KINDS = {"builder": kill_a_builder, "one of two builders": kill_one_of_two, "publisher": kill_a_publisher}
WEIGHTS = (6, 2, 2)


def soak(root: Path, kills: int, seed: int) -> Tally:
    """The whole run; prints how far it has come to standard error."""
    ground, rng, tally = Ground(root), random.Random(seed), Tally()
    ground.build()
    times = {kill_a_publisher: statistics.median(seconds(ground.publish) for _ in range(3))}
    builds = []
    for _ in range(3):
        ground.clear(cache=False)
        builds.append(seconds(ground.build))
    times[kill_a_builder] = times[kill_one_of_two] = statistics.median(builds)
    print(f"an undisturbed build takes {times[kill_a_builder] * 1000:.0f} ms", file=sys.stderr)
    for number in range(kills):
        ((kind, run),) = rng.choices(list(KINDS.items()), WEIGHTS)
        ground.clear(cache=rng.random() < 0.2)
        ground.dependencies = rng.choice([WANTED, PINNED])
        run(ground, rng, times[run], tally)
        tally.kills[kind] += 1
        if number % 100 == 99:
            print(f"{number + 1} kills, half-built {len(tally.half_built)}", file=sys.stderr)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-layers-") as root:
        tally = soak(Path(root), given.kills, given.seed)
    print(f"kills                 {sum(tally.kills.values())} (seed {given.seed}, {time.monotonic() - started:.0f} s)")
    for kind, count in sorted(tally.kills.items()):
        print(f"  {kind:20}{count}")
    print(f"builders were         {dict(sorted(tally.found.items()))}")
    print(f"half-built            {len(tally.half_built)}")
    print(f"next call failed      {len(tally.next_failed)}")
    for story in [*tally.half_built, *tally.next_failed][:20]:
        print(f"  {story[:300]}")
    return 1 if tally.half_built or tally.next_failed else 0


if __name__ == "__main__":
    sys.exit(main())
