"""`flashtrial run examples/digits_sweep.py` on a machine that has never seen it, and once more.

The tests stand in the order of a user's day and share one home.
"""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from flashtrial.server.series_views import metric_points
from testkit import wait_until

from .conftest import REPOSITORY, Machine, Ran

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(300)]

SWEEP = str(REPOSITORY / "examples" / "digits_sweep.py")
CALLS_PER_TRIAL = 7  # six chunks and `finish`


@pytest.fixture(scope="module")
def first(machine: Machine) -> Ran:
    """The sweep in an empty home: the worker installs what it needs."""
    return machine("run", SWEEP)


@dataclass(frozen=True, slots=True)
class Again:
    """The sweep once more, and what of the layers' files it made or changed."""

    ran: Ran
    touched: frozenset[str]


@pytest.fixture(scope="module")
def second(machine: Machine, first: Ran) -> Again:
    """The sweep once more, by a new worker that finds the layer there."""
    assert machine("down").code == 0
    before = layer_files(machine)
    ran = machine("run", SWEEP)
    return Again(ran, frozenset(f"{path}" for path, _ in layer_files(machine) ^ before))


def layer_files(machine: Machine) -> set[tuple[str, int]]:
    """Each package file of each layer, with the time of its last change; compiled code is not counted."""
    files = (path for path in (machine.home / "layers").rglob("*.py") if path.is_file())
    return {(str(path), path.stat().st_mtime_ns) for path in files}


def accuracies(ran: Ran) -> list[float]:
    """The held-out accuracies of the printed leaderboard."""
    return [float(found) for found in re.findall(r"^ +(0\.\d{4}|1\.0000)  model=", ran.output, re.MULTILINE)]


def test_the_sweep_ends_well_with_a_leaderboard_of_eight(first: Ran, machine: Machine) -> None:
    assert first.code == 0, first.output
    board = accuracies(first)
    assert len(board) == 8
    assert board == sorted(board, reverse=True)
    assert board[0] > 0.9
    assert len(set(board)) > 1, "configurations that differ train differently"
    url = json.loads((machine.home / "instance.json").read_text())["url"]
    assert f"dashboard: {url}" in first.output


def test_eight_finished_runs_with_last_metrics_are_on_disk(first: Ran, machine: Machine) -> None:
    runs = machine.runs()
    assert [run["status"] for run in runs] == ["finished"] * 8
    assert {run["project"] for run in runs} == {"digits-sweep"}
    for run in runs:
        assert 0 < run["summary"]["accuracy"] <= 1
        assert run["summary"]["loss"] > 0
        assert run["points"]["loss"] == run["points"]["accuracy"] >= 12
    assert len({json.dumps(run["config"], sort_keys=True) for run in runs}) == 8


def test_every_record_arrived_once(first: Ran, machine: Machine) -> None:
    for run in machine.runs():
        counts = json.loads(machine("verify", run["id"], "--json").output)
        assert counts["written"] == counts["stored"] >= 20
        assert (counts["missing"], counts["doubled"]) == (0, 0)


Span = tuple[int, int]


def calls_by_instance(machine: Machine) -> Mapping[str, list[Span]]:
    """When the local RunPod handed out each call of each instance and got its answer, in ms since the epoch."""
    calls: dict[str, list[Span]] = {}
    with sqlite3.connect(machine.home / "local_runpod.db") as database:
        for job, started_ms, finished_ms in database.execute("SELECT input, started_ms, finished_ms FROM jobs"):
            calls.setdefault(json.loads(job)["instance_id"], []).append((started_ms, finished_ms))
    database.close()
    return calls


def points_by_run(machine: Machine) -> Mapping[str, list[int]]:
    """The times of each run's losses, as they lie in the server's database."""
    database = machine.home / "server.db"
    runs = [run["id"] for run in machine.runs()]
    return {run: [point[1] for point in metric_points(database, run, "loss")] for run in runs}


def lies_inside(times_ms: Sequence[int], calls: Sequence[Span]) -> bool:
    """Whether each time lies in a call, and every call but the last had some."""
    in_call = [[time_ms for time_ms in times_ms if start <= time_ms <= end] for start, end in sorted(calls)]
    return sum(map(len, in_call)) == len(times_ms) and all(in_call[:-1])


def test_the_points_of_each_run_were_made_inside_the_calls_of_one_instance(first: Ran, machine: Machine) -> None:
    calls = calls_by_instance(machine)
    assert {len(spans) for spans in calls.values()} == {CALLS_PER_TRIAL}
    points = points_by_run(machine)
    assert len(points) == 8
    for run, times_ms in points.items():
        assert len(times_ms) >= 12
        assert any(lies_inside(times_ms, spans) for spans in calls.values()), f"{run} logged outside of its calls"


def test_the_second_time_installs_nothing_and_adds_eight_runs(first: Ran, second: Again, machine: Machine) -> None:
    assert second.ran.code == 0, second.ran.output
    assert accuracies(second.ran) == accuracies(first), "the same configurations, data and seeds"
    assert len(machine.runs()) == 16
    assert layer_files(machine)
    assert second.touched == frozenset()


def test_after_down_no_process_is_left_and_the_runs_are(second: Again, machine: Machine) -> None:
    assert machine("down").code == 0
    wait_until(lambda: not machine.processes(), 20, "the end of every process of this home")
    assert len(machine.runs()) == 16
