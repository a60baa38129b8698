"""Workers under the SDK's real loop that are told to leave at random moments: what survives, what is dropped.

Usage: python bench/soak_loop.py [--rounds N] [--seed N]

In each round a worker gets jobs that end at once, soon, or never, and at a random moment signals: TERM; TERM and KILL
later; INT twice; KILL. Afterwards, of all processes that it ever had none may be alive, and after TERM alone each job
that it was handed must have been answered. Prints a line of figures; exit status 1 when one of them is wrong.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from flashtrial.testing.job_platform import JobPlatform, job_platform

HANDLER = Path(__file__).resolve().parents[1] / "src" / "handler.py"
DRAIN_S = 3.0
DEADLINE_S = 60.0
PLANS = (("TERM",), ("TERM",), ("TERM", "KILL"), ("INT", "INT"), ("KILL",))
CALLS = {
    "at once": "def f():\n    print('said')\n    return 1\n",
    "soon": "import time\ndef f():\n    time.sleep(0.3)\n    return 1\n",
    "never": "def f():\n    while True: pass\n",
    "stubborn": "import ctypes, signal\ndef f():\n"
    "    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
    "    while True: ctypes.CDLL(None).sleep(100)\n",
    "exits": "import os\ndef f():\n    os._exit(3)\n",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    survivors = dropped = late = taken = 0
    for _ in range(options.rounds):
        one = play(rng)
        survivors, dropped, late, taken = survivors + one[0], dropped + one[1], late + one[2], taken + one[3]
    print(
        f"seed {options.seed}: {options.rounds} workers told to leave with {taken} jobs taken; "
        f"{survivors} processes survived, {dropped} jobs were dropped, {late} workers were late"
    )
    return 1 if survivors or dropped or late else 0


def play(rng: random.Random) -> tuple[int, int, int, int]:
    """One worker's life: processes that survived it, jobs it dropped, whether it left late, jobs it took."""
    plan = rng.choice(PLANS)
    with job_platform() as platform, tempfile.TemporaryDirectory(prefix="flashtrial-soak-") as scratch:
        for number in range(rng.randrange(6)):
            call = CALLS[rng.choice(list(CALLS))]
            request = {"function_name": "f", "function_code": call, "serialization_format": "json"}
            platform.submit(f"job-{number}", request)
        process = start(platform, Path(scratch), concurrency=rng.choice([1, 1, 3]))
        family: set[psutil.Process] = set()
        until = time.monotonic() + (rng.uniform(0, 2.0) if rng.random() < 0.2 else rng.uniform(2.0, 5.0))
        note(process, family, until)
        is_late = tell(process, plan, family, rng)
        taken = platform.taken_by("soak")
        dropped = [job_id for job_id in taken if not platform.answer(job_id)] if plan == ("TERM",) else []
        return len(alive(family)), len(dropped), is_late, len(taken)


def start(platform: JobPlatform, scratch: Path, concurrency: int) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        **platform.environment("soak"),
        "FLASHTRIAL_HOME": str(scratch / "home"),
        "FLASHTRIAL_CONCURRENCY": str(concurrency),
        "FLASHTRIAL_DRAIN_S": str(DRAIN_S),
    }
    return subprocess.Popen(
        [sys.executable, str(HANDLER)],
        env=environment,
        cwd=scratch,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def note(process: "subprocess.Popen[bytes]", family: set[psutil.Process], until: float) -> None:
    """Remember every process that the worker has until then."""
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(process.pid)
            family.update([leader, *leader.children(recursive=True)])
        time.sleep(0.02)


def tell(
    process: "subprocess.Popen[bytes]", plan: tuple[str, ...], family: set[psutil.Process], rng: random.Random
) -> bool:
    """Send the plan's signals; whether the worker left later than it should."""
    for name in plan:
        process.send_signal(signal.Signals[f"SIG{name}"])
        note(process, family, time.monotonic() + rng.uniform(0, 1.0))
    began = time.monotonic()
    note(process, family, began + DEADLINE_S)
    process.kill()
    process.wait()
    return time.monotonic() - began > DRAIN_S + 4.0


def alive(family: set[psutil.Process]) -> list[psutil.Process]:
    """Those that are still there some seconds later; they are killed."""
    _, left = psutil.wait_procs(list(family), timeout=5.0)
    for one in left:
        one.kill()
    return left


if __name__ == "__main__":
    sys.exit(main())
