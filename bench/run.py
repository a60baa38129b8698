"""Run every benchmark in turn and write bench/RESULTS.md: machine, date, commands, tables.

Usage: run.py [NAME ...]     (default: all; each is bench/NAME.py and can be run alone)
"""

import datetime as dt
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = {
    "calls": "Calls: P1, P2, P3, P6, P9",
    "layers": "Dependencies: P4, P5",
    "loop": "The worker's start and its loop: P7, P8",
    "tracking": "Logging and sending: P10, P11, P22",
    "server": "Ingest and queries: P12, P13",
}
DEADLINE_S = 900


def main(names: list[str]) -> int:
    chosen = names or [name for name in BENCHMARKS if (HERE / f"{name}.py").exists()]
    sections = [section(name) for name in chosen]
    (HERE / "RESULTS.md").write_text("\n".join([heading(), *sections]))
    print(f"wrote {HERE / 'RESULTS.md'}")
    return 0


def heading() -> str:
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    day = dt.datetime.now(dt.UTC).date().isoformat()
    return f"""# Benchmarks

Written by `make bench` on {day}: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}, load {load} at the start. Machines are noisy: the ratios count, not the
times. Goals are the project's own.
"""


def section(name: str) -> str:
    """One benchmark's own table under its title, with the command that made it."""
    print(f"{name} …", flush=True)
    command = [sys.executable, str(HERE / f"{name}.py")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    said = ran.stdout.strip() if ran.returncode == 0 else f"failed:\n\n```\n{ran.stderr[-2000:]}\n```"
    return f"## {BENCHMARKS.get(name, name)}\n\n`python bench/{name}.py`\n\n{said}\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
