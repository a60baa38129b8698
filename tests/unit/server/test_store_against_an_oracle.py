"""The columnar store beside a plain list of everything that was logged: whatever arrives in whatever order, whenever
it is compacted, cut short by a crash or removed, both give the same answers."""

import contextlib
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flashtrial.core import sqlite
from flashtrial.protocol.records import RecordKind
from flashtrial.server.ingest_body import ParsedBatch
from flashtrial.server.records import ChangeRecord, PointsRecord, SeriesKind, StoredRecord
from flashtrial.server.schema import MIGRATIONS
from flashtrial.server.series_views import SeriesQuery, attempts, points_of, seen, shown_values
from flashtrial.server.storage.batches import Arrival, BatchResult, store_batch
from flashtrial.server.storage.point_store import Tail, seal
from flashtrial.server.storage.removal import remove_runs
from flashtrial.server.views import read_run, verify_counts

WRITERS = ("w1", "w2", "w3")
RUNS = ("parent", "child")
FORK_STEP = 50
OPENED_MS = {"parent": 1, "child": 5}
ODD = (math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1e308)


@dataclass(frozen=True)
class Point:
    """One point as it was logged."""

    seq: int
    step: int
    time_ms: int
    value: float


@dataclass
class Log:
    """What one writer of one run said, and what of it was acknowledged."""

    points: list[Point] = field(default_factory=list)
    resumed: bool = False
    stored: set[int] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return bool(self.stored)

    @property
    def there(self) -> list[Point]:
        return [point for point in self.points if point.seq in self.stored]

    def attempts(self, until_ms: float) -> list[list[Point]]:
        """Parted where a step goes back; the first, and what began until then."""
        found: list[list[Point]] = []
        for point in self.there:
            if found and point.step >= found[-1][-1].step:
                found[-1].append(point)
            else:
                found.append([point])
        return [*found[:1], *(attempt for attempt in found[1:] if attempt[0].time_ms <= until_ms)]

    def rounds(self, until_ms: float = math.inf) -> list[list[list[Point]]]:
        """Rounds of attempts of points."""
        found: list[list[list[Point]]] = []
        for attempt in self.attempts(until_ms):
            if found and attempt[0].step > found[-1][0][0].step:
                found[-1].append(attempt)
            else:
                found.append([attempt])
        return found

    def seen(self, until_ms: float = math.inf) -> list[Point]:
        """Of each round what no later attempt of it takes the place of."""
        return [
            point
            for of_round in self.rounds(until_ms)
            for place, attempt in enumerate(of_round)
            for point in attempt
            if all(point.step < later[0].step for later in of_round[place + 1 :])
        ]


@dataclass
class Model:
    """A run as a plain list."""

    opened_ms: int
    logs: dict[str, Log] = field(default_factory=lambda: {name: Log() for name in WRITERS})

    def times(self) -> dict[str, list[int]]:
        return {
            name: [
                self.opened_ms if seq == 1 else next(p.time_ms for p in log.points if p.seq == seq)
                for seq in log.stored
            ]
            for name, log in self.logs.items()
            if log.is_open
        }

    def generations(self, until_ms: float = math.inf) -> list[list[Log]]:
        times = self.times()
        begins = sorted((min(each), name) for name, each in times.items() if self._goes_on(name))
        found: list[list[Log]] = [[] for _ in range(len(begins) + 1)]
        for name, each in times.items():
            own = (min(each) if self._goes_on(name) else max(each), name)
            found[sum(begin <= own for begin in begins)].append(self.logs[name])
        oldest = next((place for place, each in enumerate(found) if each), 0)
        return found[: max(oldest, sum(ms <= until_ms for ms, _ in begins)) + 1]

    def _goes_on(self, name: str) -> bool:
        return self.logs[name].resumed and 1 in self.logs[name].stored

    def seen(self, until_ms: float = math.inf) -> list[Point]:
        generations = self.generations(until_ms)
        firsts = [min((p.step for log in each for p in log.there), default=math.inf) for each in generations]
        return [
            point
            for place, generation in enumerate(generations)
            for log in generation
            for point in log.seen(until_ms)
            if all(point.step < first for first in firsts[place + 1 :])
        ]

    def last(self) -> float | None:
        lasts = [(log.there[-1].time_ms, log.there[-1].step, name) for name, log in self.logs.items() if log.there]
        return self.logs[max(lasts)[2]].there[-1].value if lasts else None

    def points(self) -> int:
        return sum(len(log.there) for log in self.logs.values())


class StoreBesideAnOracle(RuleBasedStateMachine):
    """Sends what writers logged in cut, repeated and shuffled batches; compacts, crashes and reads in between."""

    def __init__(self) -> None:
        super().__init__()
        self._clean = contextlib.ExitStack()
        home = self._clean.enter_context(tempfile.TemporaryDirectory())
        self.path = Path(home) / "server.db"
        self.models = {run: Model(OPENED_MS[run]) for run in RUNS}
        self.removed: set[str] = set()
        self.given: list[Point] | None = None

    def teardown(self) -> None:
        self.connection.close()
        self._clean.close()

    @initialize()
    def open(self) -> None:
        self.connection = sqlite.connect(self.path)
        self.connection.execute("PRAGMA synchronous = OFF")
        sqlite.migrate(self.connection, MIGRATIONS)

    @rule(run=st.sampled_from(RUNS), name=st.sampled_from(WRITERS), data=st.data())
    def log(self, run: str, name: str, data: st.DataObject) -> None:
        """A writer logs some more; its clock and its steps may go back."""
        log = self.models[run].logs[name]
        count = data.draw(st.sampled_from([1, 2, 7, 300, 2500]))
        begin = data.draw(st.integers(-5, 120)) if not log.points or data.draw(st.booleans()) else log.points[-1].step
        stride = data.draw(st.sampled_from([0, 1, 3]))
        clock = data.draw(st.integers(2, 9))
        random = np.random.default_rng(data.draw(st.integers(0, 99)))
        values = random.normal(size=count)
        values[random.random(count) < 0.05] = data.draw(st.sampled_from(ODD))
        if not log.points and data.draw(st.booleans()):
            log.resumed = True
        first = log.points[-1].seq + 1 if log.points else 2
        log.points += [Point(first + k, begin + stride * k, clock, float(v)) for k, v in enumerate(values)]

    @rule(run=st.sampled_from(RUNS), name=st.sampled_from(WRITERS), data=st.data(), crash=st.booleans())
    def send(self, run: str, name: str, data: st.DataObject, crash: bool) -> None:
        """Any part of the log, again or for the first time; or a server that dies before it commits."""
        log = self.models[run].logs[name]
        size = len(log.points)
        first = data.draw(st.integers(0, size))
        wanted = log.points[first : data.draw(st.integers(first, size))]
        opening = bool(data.draw(st.booleans()))
        records = self._records(run, log, wanted, opening)
        if not records:
            return
        self.connection.execute("BEGIN IMMEDIATE")
        result = store_batch(self.connection, ParsedBatch(run, name, tuple(records)), Arrival(1))
        if crash:
            self._restart()
            return
        self.connection.execute("COMMIT")
        self._account(run, log, result, {record.seq for record in records})

    def _records(self, run: str, log: Log, wanted: list[Point], opening: bool) -> list[StoredRecord]:
        records: list[StoredRecord] = [
            PointsRecord(p.seq, p.time_ms, SeriesKind.METRIC, p.step, ("x",), (p.value,)) for p in wanted
        ]
        if opening and (log.resumed or run == "child"):
            fork = f',"fork":{{"run_id":"parent","step":{FORK_STEP}}}' if run == "child" else ""
            resumed = "true" if log.resumed else "false"
            body = f'{{"status":"running","resumed":{resumed}{fork}}}'.encode()
            records.insert(0, ChangeRecord(1, OPENED_MS[run], RecordKind.STATE, body))
        return records

    def _account(self, run: str, log: Log, result: BatchResult, seqs: set[int]) -> None:
        if run in self.removed:
            assert (result.stored, len(result.refused)) == (0, len(seqs))
            return
        assert (result.stored, result.duplicates) == (len(seqs - log.stored), len(seqs & log.stored))
        log.stored |= seqs

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        """Any open tail becomes blocks."""
        tails = self.connection.execute("SELECT series, writer FROM curves ORDER BY series, writer").fetchall()
        if tails:
            seal(self.connection, Tail(*data.draw(st.sampled_from(tails))))

    @rule()
    def restart(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self.connection.close()
        self.open()

    @precondition(lambda self: not self.removed)
    @rule(run=st.sampled_from(RUNS), yes=st.integers(0, 4))
    def remove(self, run: str, yes: int) -> None:
        inherited = self._inherited()
        if yes == 0 and remove_runs(self.connection, [run], 1).run_ids:
            self.removed.add(run)
            self.models[run] = Model(OPENED_MS[run])
            self.given = inherited if run == "parent" else None

    def _inherited(self) -> list[Point]:
        """What the child has of its parent, as it was when the child began; once the parent is gone, as it was then."""
        child = self.models["child"]
        if self.given is not None:
            return self.given
        if not any(1 in log.stored for log in child.logs.values()):
            return []
        began_ms = min(ms for each in child.times().values() for ms in each)
        return [point for point in self.models["parent"].seen(began_ms) if point.step <= FORK_STEP]

    @rule(run=st.sampled_from(RUNS), low=st.integers(-10, 400), width=st.integers(0, 3000), limit=st.integers(4, 40))
    def zoom(self, run: str, low: int, width: int, limit: int) -> None:
        """At any zoom the ends, the lowest and the highest of what is seen are there, and no more than asked for."""
        whole = seen(self.connection, SeriesQuery(run, "x", low, low + width, None))
        few = seen(self.connection, SeriesQuery(run, "x", low, low + width, limit))
        assert len(few) == len(whole) if len(whole) <= limit else 0 < len(few) <= limit
        if not len(whole):
            return
        assert {int(whole.steps[0]), int(whole.steps[-1])} <= set(few.steps.tolist())
        assert set(points_of(few)) <= set(points_of(whole))
        assert list(few.steps) == sorted(few.steps)
        for extreme in (np.fmin.reduce, np.fmax.reduce):
            assert shown_values(np.array([extreme(few.values)])) == shown_values(np.array([extreme(whole.values)]))
        peaks = _peaks(whole.values, 2 * (len(whole) // ((limit - 2) // 2) + 256))
        assert set(whole.values[peaks].tolist()) <= set(few.values.tolist())

    @invariant()
    def the_whole_curve_and_the_counts_agree(self) -> None:
        for run, model in self.models.items():
            expected = [(p.step, p.time_ms, p.value) for p in model.seen()]
            if run == "child":
                begins = min((p.step for log in model.logs.values() for p in log.there), default=math.inf)
                expected += [(p.step, p.time_ms, p.value) for p in self._inherited() if p.step < begins]
            found = seen(self.connection, SeriesQuery(run, "x", limit=None))
            steps = found.steps.tolist()
            assert steps == sorted(steps)
            assert sorted(map(repr, zip(steps, found.times_ms.tolist(), found.values.tolist(), strict=True))) == sorted(
                map(repr, expected)
            )
            self._the_run_agrees(run, model)

    def _the_run_agrees(self, run: str, model: Model) -> None:
        row = read_run(self.path, run)
        if row is None:
            assert not any(log.is_open for log in model.logs.values())
            return
        assert row["points"] == ({"x": model.points()} if model.points() else {})
        last = model.last()
        assert row["summary"] == ({} if last is None else {"x": shown_values(np.array([last]))[0]})
        told = {each["writer_id"]: each for each in verify_counts(self.path, run)}
        for name, log in model.logs.items():
            if log.is_open:
                counts = (told[name]["stored"], told[name]["max_seq"], told[name]["doubled"])
                assert counts == (len(log.stored), max(log.stored), 0)
        apart = [len(each["points"]) for each in attempts(self.path, SeriesQuery(run, "x", limit=None))]
        logged = [len(attempt) for log in model.logs.values() for each in log.rounds() for attempt in each]
        assert sorted(apart) == sorted(logged)


def _peaks(values: "np.typing.NDArray[np.float64]", width: int) -> list[int]:
    """Where a value is higher, or lower, than every other within `width` places."""
    found = []
    for place in range(len(values)):
        around = np.delete(values[max(0, place - width) : place + width + 1], min(place, width))
        if len(around) and (np.all(values[place] > around) or np.all(values[place] < around)):
            found.append(place)
    return found


TestStoreBesideAnOracle = StoreBesideAnOracle.TestCase
TestStoreBesideAnOracle.settings = settings(
    deadline=None,
    max_examples=12,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
