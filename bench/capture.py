"""What capture costs the training: `log`, `init`, and a loop that prints, with and without.

Usage: capture.py [--quick]

Each figure is taken in processes of its own, with and without in turn, and the best of several is told: what others do
on the machine only adds. Own CPU is that of the training's process, all its threads. Records stay on the disk; nothing
is sent.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 7
OFF = {"FLASHTRIAL_CONSOLE": "false", "FLASHTRIAL_FACTS": "false", "FLASHTRIAL_SYSTEM_MONITOR": "false"}
ON = {"FLASHTRIAL_CONSOLE": "true", "FLASHTRIAL_FACTS": "true", "FLASHTRIAL_SYSTEM_MONITOR": "true"}

# A step of training, printed: 10,000 lines with about 0.2 ms of work each.
PRINTING = """
import sys, time
import flashtrial
begun = time.perf_counter()
run = flashtrial.init(settings={"finish_timeout_s": 0})
opened = time.perf_counter()
begun_cpu = time.process_time()
for step in range(10_000):
    work = sum(number * number for number in range(2_000))
    print("step", step, "loss", work / 7, flush=True)
printed, printed_cpu = time.perf_counter(), time.process_time()
run.finish()
sys.stderr.write(f"{opened - begun} {printed - opened} {printed_cpu - begun_cpu} {time.perf_counter() - printed}")
"""

LOGGING = """
import statistics, sys, time
import flashtrial
run = flashtrial.init(settings={"finish_timeout_s": 0, "system_interval_s": 1.0})
values = {f"train/metric_{number}": number / 7 for number in range(10)}
took = []
begun_cpu = time.process_time()
for step in range(40_000):
    begun = time.perf_counter_ns()
    run.log(values, step=step)
    took.append(time.perf_counter_ns() - begun)
used = (time.process_time() - begun_cpu) / len(took)
took.sort()
run.finish()
sys.stderr.write(f"{took[len(took) // 2] / 1e9} {took[int(len(took) * 0.99)] / 1e9} {used}")
"""


def figures(script: str, capture: dict[str, str], home: Path) -> list[float]:
    """What `script` says of itself at the end of its standard error."""
    environment = {**os.environ, **capture, "FLASHTRIAL_HOME": str(home), "FLASHTRIAL_URL": "http://127.0.0.1:9"}
    with (home / "output").open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    return [float(word) for word in done.stderr.split()]


def compare(script: str, names: list[str], home: Path) -> None:
    """A row for each figure: without, with, and by how much it differs."""
    without, with_capture = [], []
    for _ in range(ROUNDS):
        without.append(figures(script, OFF, home))
        with_capture.append(figures(script, ON, home))
    for place, name in enumerate(names):
        least = [min(each[place] for each in taken) for taken in (without, with_capture)]
        print(
            f"| {name} | {1e3 * least[0]:.4f} ms | {1e3 * least[1]:.4f} ms | {least[1] / least[0] - 1:+.1%} |",
            flush=True,
        )


def main() -> None:
    print("| | without | with | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        compare(LOGGING, ["log of ten floats, p50", "log of ten floats, p99", "log of ten floats, own CPU"], home)
        compare(PRINTING, ["init", "10,000 steps that print a line", "10,000 steps, own CPU", "finish"], home)


if __name__ == "__main__":
    main()
