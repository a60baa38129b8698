"""What is stored of a run depends on its records alone, not on how they arrived or when tails were sealed."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashtrial.core import sqlite
from flashtrial.protocol.records import RecordKind
from flashtrial.server.ingest_body import ParsedBatch
from flashtrial.server.records import StoredRecord, parse_record
from flashtrial.server.run_facts import Change, RunFacts, ended_by_guests, fold
from flashtrial.server.schema import MIGRATIONS
from flashtrial.server.series_views import SeriesQuery, points_of, seen
from flashtrial.server.storage import run_rows
from flashtrial.server.storage.batches import Arrival, store_batch
from flashtrial.server.storage.point_store import Tail, seal

pytestmark = pytest.mark.unit

GUEST = "w3"
writers = st.sampled_from(["w1", "w2", GUEST])
small = st.integers(0, 9)
states = st.fixed_dictionaries(
    {"status": st.sampled_from(["running", "failed", "finished"])},
    optional={
        "resumed": st.booleans(),
        "config": st.dictionaries(st.sampled_from("ab"), small),
    },
)
bodies = st.one_of(
    st.tuples(st.just("metric"), st.fixed_dictionaries({"step": small, "values": st.just({"x": 1.0})})),
    st.tuples(st.just("state"), states),
    st.tuples(st.just("config"), st.fixed_dictionaries({"set": st.dictionaries(st.sampled_from("ab"), small)})),
    st.tuples(st.just("tags"), st.fixed_dictionaries({"add": st.lists(st.sampled_from("tu"))})),
)
histories = st.lists(st.tuples(writers, st.integers(1, 9), bodies), min_size=1, max_size=25)


def _records(history: list[tuple[str, int, tuple[str, dict[str, object]]]]) -> list[tuple[str, StoredRecord]]:
    """The history as records, each with its writer, of which the last is a guest; numbers ascend, times need not."""
    found: list[tuple[str, StoredRecord]] = []
    for place, (writer, time_ms, (kind, body)) in enumerate(history, 1):
        told = {**body, "guest": True} if kind == "state" and writer == GUEST else body
        found.append((writer, parse_record(place, kind, time_ms, told)))
    return found


def _folded(changes: list[Change]) -> RunFacts:
    """What all changes together make of the run."""
    facts = fold("r", changes)
    has_owner = any(change.kind is RecordKind.STATE and change.writer != GUEST for change in changes)
    return facts if has_owner else ended_by_guests(facts, changes)


@contextlib.contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        sqlite.migrate(connection, MIGRATIONS)
        yield connection


def _store(connection: sqlite3.Connection, writer: str, record: StoredRecord) -> None:
    store_batch(connection, ParsedBatch("r", writer, (record,)), Arrival(1))


def _seal_all(connection: sqlite3.Connection) -> None:
    for key in connection.execute("SELECT series, writer FROM curves").fetchall():
        seal(connection, Tail(*key))


def _facts(connection: sqlite3.Connection) -> RunFacts:
    (number,) = connection.execute("SELECT number FROM runs").fetchone()
    facts, _, _ = run_rows.facts_in_row(connection, run_rows.RunKey(number, "r"))
    return facts


@settings(deadline=None, max_examples=30)
@given(histories, st.randoms(use_true_random=False), st.sets(st.integers(0, 24)))
def test_any_order_of_arrival_and_any_sealing_give_the_same_run(
    history: list[tuple[str, int, tuple[str, dict[str, object]]]], shuffler: object, sealed_after: set[int]
) -> None:
    records = _records(history)
    shuffled = records.copy()
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    with _database() as plain, _database() as other:
        for writer, record in records:
            _store(plain, writer, record)
        for place, (writer, record) in enumerate(shuffled):
            _store(other, writer, record)
            _store(other, writer, record)  # a repetition
            if place in sealed_after:
                _seal_all(other)
        query = SeriesQuery("r", "x", limit=None)
        assert sorted(points_of(seen(other, query))) == sorted(points_of(seen(plain, query)))
        changes = run_rows.changes_of(other, 1)
        assert replace(_facts(other), name="r") == replace(_folded(changes), name="r")
        assert _facts(plain) == _facts(other)
        stored = [change for change in changes if change.kind in RecordKind]
        assert len(stored) == sum(kind != "metric" for _, _, (kind, _) in history)
