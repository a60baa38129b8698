"""Group D of the fault matrix: a worker's parts started and stopped, again and again, in one process. Does it leak?

Usage: soak_life.py [--cycles N] [--seed S]

Prints descriptors, processes, threads, Python objects and resident memory at the start (after a warm-up) and at the
end, and the slope of each: how much a life leaves behind. Exit status 1 when a slope says that something is left.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from flashtrial.core import env
from testkit.lives import WARM_UP, Held, held, live, slopes

# Per life. Memory is measured in pages, and pydantic keeps the last 16,384 short strings: ids and times fill that.
ALLOWED = {"descriptors": 0.001, "processes": 0.0, "threads": 0.001, "objects": 0.01, "resident_bytes": 2048.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    measured = lives(options.cycles + WARM_UP, random.Random(options.seed))
    grown = slopes(measured)
    print(f"seed {options.seed}: {options.cycles} lives in {time.monotonic() - began:.0f} s")
    for name, slope in grown.items():
        first, last = getattr(measured[WARM_UP], name), getattr(measured[-1], name)
        print(f"  {name:15} {first:>12,} -> {last:>12,}   slope {slope:+.4f} a life")
    return 1 if any(slope > ALLOWED[name] for name, slope in grown.items()) else 0


def lives(count: int, rng: random.Random) -> list[Held]:
    measured = []
    for _ in range(count):
        with tempfile.TemporaryDirectory(prefix="flashtrial-life-") as home:
            env.set_all({env.HOME: home})  # where the calls of this life write their records
            live(rng, Path(home))
        measured.append(held())
    return measured


if __name__ == "__main__":
    sys.exit(main())
