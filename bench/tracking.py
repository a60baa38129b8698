"""P10, P11, P22: what tracking costs the training that is tracked.

Usage: tracking.py [--quick] [--only P10,P11]

The floors of P10 are what a careful script does by hand (benchkit/floors.py). They are measured in turn with `log`,
call by call, in one process, so that the ratio holds when the machine's speed drifts. Peers have a process each, as
often as ours and in turn with it. What `log` promises is that the death of the process loses nothing that it returned
from (the death of the machine may), as do the floors: so survivors of SIGKILL are counted for all.
"""

import contextlib
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import flashtrial
from benchkit import peers
from benchkit.floors import Floor, JsonLines, OrjsonFrames, SqliteCommits
from benchkit.instance import Server, serving
from benchkit.peers import FLOORS, OURS, PEERS, Subject
from benchkit.processes import PeerFailed
from benchkit.program import Options, main
from benchkit.rows import Row
from benchkit.timing import in_turn, micros, p50_p99, took_s
from flashtrial.core import env

METRIC = "train/metric_9"
PLAIN = {f"train/metric_{number}": number / 7 for number in range(10)}
MIXED = {
    **{f"train/metric_{number}": number / 7 for number in range(6)},
    "nan": float("nan"),
    "inf": float("inf"),
    "scalar": np.float32(1 / 7),
    "nested": {"value": 1 / 7},
}
SMALLEST_RATIO, MOST_P99_US, MOST_FINISH_S, MOST_IMPORT_S = 0.5, 100, 1.0, 0.060
FINISHED = 10_000


def log_calls(options: Options) -> Iterator[Row]:
    """P10: the caller's time, call by call with the floors."""
    with tempfile.TemporaryDirectory() as directory, as_a_worker():
        run = flashtrial.init(settings={"outbox": Path(directory)})
        floors = [floor(Path(directory)) for floor in (JsonLines, OrjsonFrames, SqliteCommits)]
        for name, values in (("ten floats", PLAIN), ("ten with NaN, Inf, a numpy scalar, a nested dict", MIXED)):
            calls_in_turn(run, floors, values, 200)
            taken = calls_in_turn(run, floors, values, 2_000 if options.quick else 15_000)
            yield quick_call(f"`log` of {name}, p50 / p99; process", taken)
        for count in (1_000, 10_000):
            wide = {f"layer_{number}/norm": number / 7 for number in range(count)}
            ours, floor, *_ = (p50_p99(each) for each in calls_in_turn(run, floors, wide, 30))
            per_name = f"{ours[0] / count * 1e9:,.0f} ns a name"
            what = f"`log` of {count:,} names, p50 / p99; process"
            yield Row(
                "P10", what, f"{shown(*ours)}, {per_name}", shown(*floor), ratio=ours[0] / floor[0], goal="linear"
            )
        for each in floors:
            each.close()
        run.finish()


@contextlib.contextmanager
def as_a_worker() -> Iterator[None]:
    """Inside, nothing is started beside the measurement: a worker's handler has the sync process."""
    os.environ[env.WORKER_ID] = "bench"
    try:
        yield
    finally:
        del os.environ[env.WORKER_ID]


def calls_in_turn(run: flashtrial.Run, floors: list[Any], values: dict[str, Any], calls: int) -> list[list[float]]:
    """Seconds of each call, ours first."""
    steps = iter(range(calls * (1 + len(floors))))

    def logging(floor: Floor) -> Callable[[], object]:
        return lambda: floor.log(values, next(steps))

    return in_turn(calls, lambda: run.log(values, step=next(steps)), *map(logging, floors))


def shown(p50_s: float, p99_s: float) -> str:
    return micros(p50_s * 1e6, p99_s * 1e6)


def quick_call(what: str, taken: list[list[float]]) -> Row:
    ours, *floors = (p50_p99(each) for each in taken)
    ratio = ours[0] / floors[0][0]
    told = "<br>".join(f"{floor.name} {shown(*each)}" for floor, each in zip(FLOORS, floors, strict=True))
    met = ratio <= SMALLEST_RATIO and ours[1] * 1e6 <= MOST_P99_US
    return Row("P10", what, shown(*ours), told, {}, ratio, "p50 ≤ 0.5 x JSON line, p99 ≤ 100 µs", met)


def variables_of(subject: Subject, server: Server, directory: Path, *, sends: bool) -> Mapping[str, str]:
    """Where the subject writes to: us to a home of its own unless it `sends`, pluto always to a server of ours."""
    if subject is OURS:
        alone = {env.HOME: str(directory / "home"), env.WORKER_ID: "bench"}
        return {env.HOME: str(server.home)} if sends else alone
    if not subject.needs_server:
        return {}
    return dict.fromkeys(("PLUTO_URL_APP", "PLUTO_URL_API", "PLUTO_URL_INGEST", "PLUTO_URL_PY"), server.url)


def calls_of_peers(options: Options) -> Iterator[Row]:
    """P10: everybody in a process of its own, in turn."""
    told: dict[Subject, list[dict[str, Any]]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as root, serving(Path(root) / "server") as server:
        for number in range(1 if options.quick else 3):
            for subject in (OURS, *FLOORS, *PEERS):
                if subject.name in missing:
                    continue
                directory = Path(root) / f"{subject.script}-{number}"
                calls, most_s = (300, 0.5) if options.quick else (5_000, 1.0)
                try:
                    more = variables_of(subject, server, directory, sends=False)
                    told.setdefault(subject, []).append(peers.ask(subject, "log", directory, calls, most_s, more))
                except PeerFailed as error:
                    missing[subject.name] = str(error)
    ten = {one.name: micros(median(told[one], "p50_us"), median(told[one], "p99_us")) for one in told}
    yield beside("`log` of ten floats, each in a process of its own, p50 / p99", ten, missing, told, "p50_us")
    wide = {one.name: f"{median(told[one], 'wide_p50_us'):,.0f} µs" for one in told}
    yield beside("`log` of 1,000 names, each in a process of its own, p50", wide, missing, told, "wide_p50_us")


def median(told: list[dict[str, Any]], figure: str) -> float:
    return statistics.median(one[figure] for one in told)


def beside(
    what: str, figures: dict[str, str], missing: dict[str, str], told: dict[Subject, list[dict[str, Any]]], by: str
) -> Row:
    """Ours beside those of all others; the ratio is to the quickest peer."""
    best = min((median(told[peer], by) for peer in PEERS if peer in told), default=None)
    ratio = None if best is None else median(told[OURS], by) / best
    floors = "<br>".join(f"{one.name} {figures[one.name]}" for one in FLOORS if one.name in figures)
    theirs = {one.name: figures.get(one.name) or missing[one.name] for one in PEERS}
    goal, met = "< quickest peer", None if ratio is None else ratio < 1
    return Row("P10", what, figures[OURS.name], floors, theirs, ratio, goal, met)


def survivors(options: Options) -> Iterator[Row]:
    """P10: what each one's own reader finds after SIGKILL of the trainer, its helpers having had 5 s more."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as root, serving(Path(root) / "server") as server:
        for subject in (OURS, *FLOORS, *PEERS):
            directory = Path(root) / subject.script
            more = variables_of(subject, server, directory, sends=False)
            found[subject.name] = survived(subject, directory, more, 1_000 if options.quick else 10_000)
    floors = "<br>".join(f"{one.name} {found[one.name]}" for one in FLOORS)
    theirs = {one.name: found[one.name] for one in PEERS}
    ours = found[OURS.name]
    what = "logs of ten floats that survive SIGKILL right after the last one; process"
    yield Row("P10", what, ours, floors, theirs, goal="100%", met=ours.startswith("100%"))


def survived(subject: Subject, directory: Path, more: Mapping[str, str], calls: int) -> str:
    try:
        logged = peers.ask(subject, "kill", directory, calls, 3, more)["calls"]
        count = peers.ask(subject, "count", directory, calls, 5, more)["count"]
    except PeerFailed as error:
        return "not counted" if str(error).startswith("count") else str(error)
    return f"{100 * count / logged:.4g}% of {logged:,}"


def finishing(options: Options) -> Iterator[Row]:
    """P11: from the last `log` to the return of `finish`, and what had arrived then."""
    calls = 500 if options.quick else FINISHED
    theirs: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as root, serving(Path(root) / "server") as server:
        ours = [finished(OURS, server, Path(root) / f"ours-{number}", calls) for number in range(3)]
        for peer in PEERS:
            try:
                theirs[peer.name] = finish_told(*finished(peer, server, Path(root) / peer.script, calls))
            except PeerFailed as error:
                theirs[peer.name] = str(error)
        floor_s = statistics.median(insert_s(Path(root) / f"floor-{number}.db", calls) for number in range(3))
    ours_s = statistics.median(seconds for seconds, _, _ in ours)
    complete = all(arrived == logged for _, logged, arrived in ours)
    told = f"{ours_s:.2f} s, {'all' if complete else 'NOT all'} committed at the server; machine"
    what = f"`finish` after {calls:,} logs of ten floats"
    floor = f"the same points into SQLite, one commit {floor_s:.2f} s"
    yield Row("P11", what, told, floor, theirs, ours_s / floor_s, "≤ 1 s", complete and ours_s <= MOST_FINISH_S)


def finished(subject: Subject, server: Server, directory: Path, calls: int) -> tuple[float, int, int | None]:
    """Seconds of `finish`, how many logs were made, and how many of them the server has (None: it is none of ours)."""
    more = variables_of(subject, server, directory, sends=True)
    told = peers.ask(subject, "finish", directory, calls, 6, more, timeout_s=150)
    is_sent = subject is OURS or subject.needs_server
    return told["finish_s"], told["calls"], server.points(directory.name, METRIC) if is_sent else None


def finish_told(finish_s: float, logged: int, arrived: int | None) -> str:
    where = "no server" if arrived is None else f"{arrived:,} at the server"
    return f"{finish_s:.2f} s after {logged:,} ({where})"


def insert_s(path: Path, calls: int) -> float:
    """Seconds to put the points of P11 into a table, in one transaction and with one prepared statement."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE points (series, step, time_ms, value, PRIMARY KEY (series, step)) WITHOUT ROWID"
        )

        def insert() -> None:
            connection.execute("BEGIN")
            for series in range(10):
                points = ((series, step, 1_700_000_000_000 + step, step / 7) for step in range(calls))
                connection.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", points)
            connection.execute("COMMIT")

        return took_s(insert)


def import_time(options: Options) -> Iterator[Row]:
    """P22: what the import costs over a Python that does nothing."""
    codes = {
        "bare Python": (Path(sys.executable), "pass"),
        "import flashtrial": (Path(sys.executable), "import flashtrial"),
        "from flashtrial import init": (Path(sys.executable), "from flashtrial import init"),
    }
    theirs: dict[str, str] = {}
    for peer in PEERS:
        try:
            codes[peer.name] = (peer.python(), peer.statement)
        except PeerFailed as error:
            theirs[peer.name] = str(error)
    seconds = import_seconds(codes, 1 if options.quick else 5)
    bare_s = seconds["bare Python"]
    theirs |= {peer.name: f"{1e3 * (seconds[peer.name] - bare_s):,.0f} ms" for peer in PEERS if peer.name in seconds}
    for what in ("import flashtrial", "from flashtrial import init"):
        over_s = seconds[what] - bare_s
        floor = f"bare Python {1e3 * bare_s:.0f} ms"
        met = over_s <= MOST_IMPORT_S
        yield Row(
            "P22", f"`{what}`, over bare Python", f"{1e3 * over_s:.0f} ms", floor, theirs, goal="≤ 60 ms", met=met
        )


def import_seconds(codes: Mapping[str, tuple[Path, str]], rounds: int) -> dict[str, float]:
    """Medians, after one round that fills caches."""
    taken: dict[str, list[float]] = {name: [] for name in codes}
    with tempfile.TemporaryDirectory() as home:
        variables = {**os.environ, **peers.OFFLINE, "HOME": home, "PLUTO_DISABLE_TELEMETRY": "1"}
        for _ in range(rounds + 1):
            for name, (python, code) in codes.items():
                command = [python, "-c", code]
                run = lambda command=command: subprocess.run(command, check=True, env=variables, timeout=60)  # noqa: E731
                taken[name].append(took_s(run))
    return {name: statistics.median(each[1:]) for name, each in taken.items()}


MEASURES = (
    ("P10", log_calls),
    ("P10", calls_of_peers),
    ("P10", survivors),
    ("P11", finishing),
    ("P22", import_time),
)

if __name__ == "__main__":
    main(MEASURES, __doc__)
