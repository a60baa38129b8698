"""P4, P5: what dependencies cost, against uv itself and against the look at the metadata that nobody can avoid.

Usage: layers.py [--quick] [--only P4]

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
from collections.abc import Callable, Iterator
from pathlib import Path

import uv

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from benchkit.program import Options, main
from benchkit.rows import Row
from flashtrial.worker.dependency_installer import DependencyInstaller
from flashtrial.worker.install.base_packages import BasePackages
from flashtrial.worker.install.install_settings import InstallSettings
from testkit.wheels import make_wheel, offline

SATISFIED = ["numpy>=2", "pydantic", "packaging>=20", "typer"]
UV = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def run_uv(*arguments: str) -> None:
    subprocess.run([*UV, *arguments], check=True, capture_output=True)


def row(row_id: str, what: str, ours: list[float], floor: list[float], goal: str, most_ms: float, peer: str) -> Row:  # noqa: PLR0917
    """`floor` is told as `peer`; `most_ms` is a limit of ours."""
    mine, theirs = statistics.median(ours) * 1000, statistics.median(floor) * 1000
    told = f"{peer} {theirs:.2f} ms"
    return Row(row_id, what, f"{mine:.2f} ms", told, {}, mine / theirs, goal, mine <= most_ms if goal else None)


def look_at_metadata() -> None:
    for name in SATISFIED:
        importlib.metadata.version(name.partition(">")[0])


def satisfied(home: Path, rounds: int) -> Iterator[Row]:
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
    yield row("P4", "dependencies all there, warm", warm, metadata, "≤ 1 ms", 1, "look at the metadata")
    yield row("P4", "dependencies all there, first call", first, no_op, "≤ 5 ms", 5, "`uv pip install` no-op")


def fresh(home: Path, runner: asyncio.Runner) -> None:
    installer = DependencyInstaller(home, base=BasePackages(), settings=InstallSettings())
    runner.run(installer.environment_for(SATISFIED))


def in_layer(root: Path, wanted: str, rounds: int) -> Iterator[Row]:
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
    most_ms, tool = 1000 * statistics.median(alone) + 50, "`uv pip install --target`"
    yield row("P5", f"new dependency {wanted}, wheels in the cache", ours, alone, "≤ uv + 50 ms", most_ms, tool)
    yield row("P5", "the same, its layer held", again, alone, "", most_ms, tool)


def all_there(options: Options) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-layers-") as directory:
        os.environ["UV_CACHE_DIR"] = str(Path(directory) / "cache")
        yield from satisfied(Path(directory) / "home", 5 if options.quick else 21)


def new_one(options: Options) -> Iterator[Row]:
    """A real one over the network, then one that is made here."""
    rounds = 3 if options.quick else 11
    with tempfile.TemporaryDirectory(prefix="bench-layers-") as directory:
        root = Path(directory)
        os.environ["UV_CACHE_DIR"] = str(root / "cache")
        if not options.quick:
            yield from in_layer(root / "real", "numpy==1.26.4", rounds)
        os.environ.update(offline(root / "links"))
        make_wheel(root / "links", "tiny")
        yield from in_layer(root / "made", "tiny==1.0", rounds)


MEASURES = (("P4", all_there), ("P5", new_one))

if __name__ == "__main__":
    main(MEASURES, __doc__)
