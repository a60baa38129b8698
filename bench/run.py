"""Run every benchmark in turn and write bench/RESULTS.md: machine, date, versions, a table of all rows.

Usage: run.py [--quick] [--only P10,P11] [--output FILE]

Each script is a process of its own and can be run alone. Rows come as they are measured; a script that fails or takes
too long keeps those that it had, and the others go on.
"""

import datetime as dt
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benchkit import peers
from benchkit.program import parser
from benchkit.rows import Row, failed, load_now, table

HERE = Path(__file__).parent
BENCHMARKS = {
    "calls": ("P1", "P2", "P3", "P6", "P9"),
    "layers": ("P4", "P5"),
    "loop": ("P7", "P8"),
    "tracking": ("P10", "P11", "P22"),
    "server": ("P12", "P13"),
}
DEADLINE_S = 900


def chosen(only: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """The scripts that give any of `only`, each with those ids. Raises `SystemExit` for an id that none gives."""
    every = {row_id for given in BENCHMARKS.values() for row_id in given}
    if unknown := only - every:
        raise SystemExit(f"no benchmark gives {', '.join(sorted(unknown))}; there are {', '.join(sorted(every))}")
    wanted = {
        name: tuple(row_id for row_id in given if row_id in (only or every)) for name, given in BENCHMARKS.items()
    }
    return {name: given for name, given in wanted.items() if given}


def rows_of(name: str, given: Sequence[str], quick: bool) -> list[Row]:
    """What one script measures, within its deadline."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", "--only", ",".join(given)]
    with tempfile.TemporaryFile("w+") as said:
        script = subprocess.Popen(
            [*command, *(["--quick"] if quick else [])],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
        )
        end = threading.Timer(DEADLINE_S, os.killpg, (script.pid, signal.SIGKILL))
        end.start()
        assert script.stdout is not None
        rows = [told(line) for line in script.stdout]
        status = script.wait()
        end.cancel()
        said.seek(0)
        if errors := said.read().strip():
            print(errors[-3000:], file=sys.stderr)
    missing = [row_id for row_id in given if row_id not in {row.id for row in rows}]
    return [*rows, *(failed(row_id, f"bench/{name}.py ended with {status}") for row_id in missing)]


def told(line: str) -> Row:
    row = Row.decoded(line)
    print(row.markdown(), flush=True)
    return row


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> str:
    packages = ("flashtrial", "numpy", "orjson", "ormsgpack", "runpod", "uvicorn")
    ours = [f"{name} {metadata.version(name)}" for name in packages]
    theirs = [f"{peer.distribution} {peers.version(peer)}" for peer in peers.PEERS]
    return ", ".join([f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}", *ours, *theirs])


def report(rows: Sequence[Row], arguments: Sequence[str], began_load: float, took_s: float) -> str:
    """The whole of RESULTS.md."""
    command = " ".join(["python", "bench/run.py", *arguments])
    day = dt.datetime.now(dt.UTC).date().isoformat()
    quick = "**Quick: it shows that all runs; the figures mean little.**\n\n" if "--quick" in arguments else ""
    met, missed = sum(row.met is True for row in rows), sum(row.met is False for row in rows)
    return f"""# Benchmarks

{quick}`{command}` on {day}, {took_s / 60:.0f} minutes; load {began_load:.1f} at first.

- Machine: {os.cpu_count()} cores, {processor()}, {platform.system()} {platform.machine()}.
- Versions: {versions()}.
- Goals met: {met} of {met + missed} that are set.

Machines are noisy: ratios count, not times. Figures are medians; what is compared was measured in turn in one run.
Ratio: ours over the first floor named, without a floor over the (best) peer; smaller is better, for jobs a second
larger. "process" and "machine": whose death what is measured survives. Load: the kernel's over the minute before the
row, our own included.

{table(rows)}
"""


def main(arguments: Sequence[str]) -> int:
    made = parser(__doc__ or "")
    made.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    options = made.parse_args(arguments)
    began, began_load, rows = time.monotonic(), load_now(), []
    for name, given in chosen(options.only).items():
        print(f"# bench/{name}.py", flush=True)
        rows += rows_of(name, given, options.quick)
        options.output.write_text(report(rows, arguments, began_load, time.monotonic() - began))
    print(f"wrote {options.output.name} after {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
