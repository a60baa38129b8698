"""P4, P5: what dependencies cost, against uv itself and against the look at the metadata that nobody can avoid.

Usage: layers.py [--quick] [PACKAGE==VERSION]

P5 installs a package from the network once, to fill uv's cache, and measures with a full cache; without a network (or
with `--quick`) a package made here does. Each figure is measured in turn with its peer.
"""

import asyncio
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uv

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.base_packages import BasePackages
from flashtrial.worker.install.install_settings import InstallSettings
from testkit.wheels import make_wheel, offline

QUICK = "--quick" in sys.argv
SATISFIED = ["numpy>=2", "pydantic", "packaging>=20", "typer"]
UV = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def run_uv(*arguments: str) -> None:
    subprocess.run([*UV, *arguments], check=True, capture_output=True)


def row(name: str, ours: list[float], peer_name: str, peer: list[float]) -> None:
    mine, theirs = statistics.median(ours) * 1000, statistics.median(peer) * 1000
    print(
        f"| {name} | {mine:.3f} | {peer_name} {theirs:.2f} | {mine / theirs:.3f} | {mine - theirs:+.2f} | {len(ours)} |"
    )


def look_at_metadata() -> None:
    for name in SATISFIED:
        importlib.metadata.version(name.partition(">")[0])


def satisfied(home: Path, rounds: int) -> None:
    """P4: nothing is missing."""
    installer = DependencyInstaller(home, settings=InstallSettings())
    with asyncio.Runner() as runner:

        def call() -> None:
            runner.run(installer.environment_for(SATISFIED))

        first = [timed(lambda: fresh(home, runner)) for _ in range(rounds)]
        call()
        warm, metadata, no_op = [], [], []
        for _ in range(rounds):
            warm.append(timed(call))
            metadata.append(timed(look_at_metadata))
            no_op.append(timed(lambda: run_uv(*SATISFIED)))
    row("P4 all there, warm", warm, "metadata", metadata)
    row("P4 all there, warm", warm, "uv no-op", no_op)
    row("P4 all there, first call", first, "uv no-op", no_op)


def fresh(home: Path, runner: asyncio.Runner) -> None:
    installer = DependencyInstaller(home, base=BasePackages(), settings=InstallSettings())
    runner.run(installer.environment_for(SATISFIED))


def in_layer(root: Path, wanted: str, rounds: int) -> None:
    """P5: one package that the base lacks, or has in another version; its wheels are in uv's cache."""
    run_uv("--target", str(root / "warm-up"), wanted)
    ours, alone, again = [], [], []
    with asyncio.Runner() as runner:
        for number in range(rounds):
            installer = DependencyInstaller(root / f"home{number}", settings=InstallSettings())

            def call(installer: DependencyInstaller = installer) -> None:
                runner.run(installer.environment_for([wanted]))

            ours.append(timed(call))
            again.append(timed(call))
            target = str(root / f"target{number}")
            alone.append(timed(lambda target=target: run_uv("--target", target, wanted)))  # type: ignore[misc]
            installer.close(60)
    row(f"P5 {wanted}, cached", ours, "uv --target", alone)
    row(f"   {wanted}, layer held", again, "uv --target", alone)


def main() -> None:
    rounds = 5 if QUICK else 21
    asked = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    print("| what | ours ms | peer ms | ratio | difference ms | rounds |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-layers-") as directory:
        root = Path(directory)
        os.environ["UV_CACHE_DIR"] = str(root / "cache")
        satisfied(root / "home", rounds)
        for wanted in asked or ([] if QUICK else ["numpy==1.26.4"]):
            in_layer(root / "real", wanted, rounds)
        os.environ.update(offline(root / "links"))
        make_wheel(root / "links", "tiny")
        in_layer(root / "made", "tiny==1.0", rounds)


if __name__ == "__main__":
    main()
