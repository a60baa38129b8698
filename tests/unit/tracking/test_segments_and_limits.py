"""Journals in several segments, and outboxes that are full."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core.clock import SystemClock
from flashtrial.core.errors import ConfigurationError
from flashtrial.protocol.records import JournalHeader, RecordKind
from flashtrial.testing.clock import FakeClock
from flashtrial.testing.tracking_backend import MemoryBackend
from flashtrial.tracking.backends.base import Outage
from flashtrial.tracking.journal.outbox import Journal, OutboxFull, cursor_path, dead_path, is_locked
from flashtrial.tracking.journal.progress import Cursor, dropped_path, read_cursor, read_dropped, write_cursor
from flashtrial.tracking.journal.reader import JournalReader
from flashtrial.tracking.journal.routes import Destination, Destinations, Route
from flashtrial.tracking.journal.segments import list_segments, parse_name, segment_path, size_bytes
from flashtrial.tracking.media.staging import files_dir, stage_bytes
from flashtrial.tracking.media.uploads import WithFiles
from flashtrial.tracking.sending.compaction import Compaction
from flashtrial.tracking.sending.couriers import Couriers
from flashtrial.tracking.sending.feeds import sweep
from flashtrial.tracking.sending.outbox_state import OutboxState
from flashtrial.tracking.sending.sync import Sync
from flashtrial.tracking.settings.limits import OutboxLimits, WhenFull
from flashtrial.tracking.settings.resolution import resolve

SMALL = OutboxLimits(segment_bytes=1024, outbox_bytes=16 * 1024)


@pytest.fixture
def journal(outbox: Path) -> Iterator[Journal]:
    journal = Journal.create(outbox, JournalHeader("run_1", "wr_1", {}), SMALL)
    yield journal
    journal.close()


def append(journal: Journal, kind: str = "metric", count: int = 1, size_bytes: int = 200) -> None:
    for _ in range(count):
        journal.append(kind, {"values": {"x": 1.0}, "padding": "x" * size_bytes}, 5)


def fill(journal: Journal, kind: str) -> int:
    """How many records of `kind` still fit."""
    count = 0
    try:
        while True:
            append(journal, kind)
            count += 1
    except OutboxFull:
        return count


def seqs(backend: MemoryBackend) -> list[int]:
    return sorted(seq for _, _, seq in backend.stored)


def drain(sync: Sync) -> None:
    while sync.step():
        pass


def test_numbers_go_on_across_segments_and_all_of_them_arrive_in_order(outbox: Path, journal: Journal) -> None:
    append(journal, count=30)
    assert len(list_segments(outbox)["wr_1"]) >= 5
    backend = MemoryBackend()
    drain(Sync(outbox, backend, FakeClock()))
    assert [seq for _, _, seq in backend.stored] == list(range(1, 31))


def test_segments_that_arrived_are_removed_while_their_writer_lives(outbox: Path, journal: Journal) -> None:
    append(journal, count=30)
    last = list_segments(outbox)["wr_1"][-1]
    sync = Sync(outbox, MemoryBackend(), FakeClock())
    drain(sync)
    assert list_segments(outbox) == {"wr_1": [last]}
    append(journal)
    drain(sync)
    journal.close()
    drain(sync)
    assert list(outbox.iterdir()) == []


def test_between_two_segments_the_writer_never_looks_dead(
    outbox: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []

    def look() -> None:
        looks.append(any(is_locked(path, shared=True) for path in outbox.glob("wr_1*.journal")))

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def between_looks(*arguments: Any) -> Any:
            look()
            answer = call(*arguments)
            look()
            return answer

        return between_looks

    for name in ("open", "rename", "close"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    append(journal, count=30)
    monkeypatch.undo()
    assert len(looks) > 30, "opening, naming and closing, before and after, of five segments"
    assert all(looks)


def test_a_sync_process_that_starts_again_goes_on_in_the_right_segment(outbox: Path, journal: Journal) -> None:
    backend = MemoryBackend()
    append(journal, count=12)
    drain(Sync(outbox, backend, FakeClock()))
    append(journal, count=12)
    sweep(outbox)
    again = Sync(outbox, backend, FakeClock())
    before = backend.requests
    drain(again)
    assert seqs(backend) == list(range(1, 25))
    assert backend.requests > before
    assert read_cursor(outbox / "wr_1.native.cursor").seq == 24


def test_a_damaged_segment_takes_no_other_along(outbox: Path, journal: Journal) -> None:
    append(journal, count=12)
    journal.close()
    second = segment_path(outbox, "wr_1", 2)
    damaged = bytearray(second.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    second.write_bytes(damaged)
    backend = MemoryBackend()
    sync = Sync(outbox, backend, FakeClock())
    for _ in range(3):
        drain(sync)
    arrived = seqs(backend)
    assert arrived[0] == 1
    assert arrived[-1] == 12
    assert 0 < 12 - len(arrived) <= 4
    assert [path.name for path in outbox.glob("*.damaged")] == ["wr_1.000002.journal.damaged"]


def test_a_record_larger_than_a_segment_gets_one_of_its_own(outbox: Path, journal: Journal) -> None:
    append(journal, size_bytes=5000, count=2)
    backend = MemoryBackend()
    drain(Sync(outbox, backend, FakeClock()))
    assert seqs(backend) == [1, 2]


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("wr_1.journal", ("wr_1", 1)),
        ("wr_1.000012.journal", ("wr_1", 12)),
        (".wr_1.journal.new", None),
        ("wr_1.native.cursor", None),
        ("wr_1.journal.damaged", None),
    ],
)
def test_names_of_segments_are_told_from_other_files(name: str, parsed: tuple[str, int] | None) -> None:
    assert parse_name(name) == parsed


def test_a_full_outbox_takes_states_and_nothing_else_until_something_was_sent(outbox: Path, journal: Journal) -> None:
    fill(journal, "metric")
    assert size_bytes(outbox) <= SMALL.outbox_bytes
    assert journal.append(RecordKind.STATE, {"status": "finished"}, 5) == journal.last_seq
    backend = MemoryBackend()
    drain(Sync(outbox, backend, FakeClock()))
    assert seqs(backend) == list(range(1, journal.last_seq + 1))
    journal.close()
    other = Journal.create(outbox, JournalHeader("run_1", "wr_2", {}), SMALL)
    append(other)
    other.close()


def test_of_a_full_outbox_system_samples_go_first_then_console_lines_and_never_metrics(outbox: Path) -> None:
    roomy = OutboxLimits(segment_bytes=1024)
    with_all = Journal.create(outbox, JournalHeader("run_1", "wr_1", {}), roomy)
    for _ in range(20):
        append(with_all, "system")
        append(with_all, "console")
        append(with_all, "metric")
    state = OutboxState(outbox, FakeClock())
    compaction = Compaction(state, Destinations())
    full = size_bytes(outbox)
    compaction.make_room(int(full / 0.95))
    kinds = {report.kind for report in read_dropped(dropped_path(outbox, "wr_1"))}
    assert kinds == {"system"}
    compaction.make_room(full // 3)
    dropped = read_dropped(dropped_path(outbox, "wr_1"))
    assert {report.kind for report in dropped} == {"system", "console"}
    backend = MemoryBackend()
    drain(Sync(outbox, backend, FakeClock(), state=state))
    arrived = [record.kind for record in backend.records("run_1")]
    assert arrived.count(RecordKind.METRIC) == 20
    assert len(arrived) == 60 - sum(report.count for report in dropped)
    with_all.close()


def test_nothing_is_dropped_of_a_segment_that_is_on_its_way(outbox: Path, journal: Journal) -> None:
    append(journal, "system", count=3)
    backend = MemoryBackend()
    state = OutboxState(outbox, FakeClock())
    drain(Sync(outbox, backend, FakeClock(), state=state))
    append(journal, "system", count=6)
    first = list_segments(outbox)["wr_1"][0]
    Compaction(state, Destinations()).make_room(1)
    assert first not in {report.segment for report in read_dropped(dropped_path(outbox, "wr_1"))}


def _dropped_of_a_full_outbox(outbox: Path, state: OutboxState) -> set[int]:
    """The segments that were made smaller, of as many as may be."""
    Compaction(state, Destinations()).make_room(1)
    return {report.segment for report in read_dropped(dropped_path(outbox, "wr_1"))}


@pytest.mark.parametrize("known", ["on the disk", "in memory", "further in memory"])
def test_a_segment_that_some_cursor_stands_inside_is_not_made_smaller(outbox: Path, known: str) -> None:
    with contextlib.closing(Journal.create(outbox, JournalHeader("run_1", "wr_1", {}), SMALL)) as journal:
        append(journal, "system", count=12)
    state = OutboxState(outbox, FakeClock())
    stretch = JournalReader.open(segment_path(outbox, "wr_1", 1)).read(0, 1)
    assert stretch is not None
    inside, on_disk = Cursor(stretch.marks[0].end, 1), cursor_path(outbox, "wr_1", "files")
    match known:
        case "on the disk":
            write_cursor(on_disk, inside)
        case "in memory":  # a full disk takes no cursor
            state.move("wr_1", "files", inside)
            on_disk.unlink()
        case _:
            state.move("wr_1", "files", Cursor(0, 12, 3))
            write_cursor(on_disk, inside)
    dropped = _dropped_of_a_full_outbox(outbox, state)
    assert 1 not in dropped
    assert {2, 3} <= dropped, "nobody is inside the others"


class _UntilDropped:
    """Stops couriers when something was dropped of the outbox."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox

    def is_set(self) -> bool:
        return bool(read_dropped(dropped_path(self._outbox, "wr_1")))

    def wait(self, _timeout: float, /) -> None:
        """The next look is soon enough."""


def test_an_outage_that_fills_the_outbox_costs_no_metric_where_files_wait_too(tmp_path: Path, outbox: Path) -> None:
    facts: dict[str, Any] = {"url": "http://127.0.0.1:9", "outbox_bytes": 8000, "when_full": "drop"}
    journal = Journal.create(outbox, JournalHeader("run_1", "wr_1", facts), OutboxLimits(segment_bytes=2048))
    append(journal, "system", size_bytes=100)
    append(journal, count=2)
    staged = stage_bytes(outbox, b"hello")

    def couriers() -> contextlib.closing[Couriers]:
        return contextlib.closing(Couriers(outbox, tmp_path, {}, SystemClock(), Destinations(home=str(tmp_path))))

    with couriers() as in_life:
        in_life.step_all()
        assert read_cursor(cursor_path(outbox, "wr_1", "files")).seq == 3
        journal.append(RecordKind.FILE, {"name": "a", "sha256": staged.sha256, "size": 5, "staged": staged.ref}, 5)
        for _ in range(15):
            append(journal, "system")
            append(journal)
        in_life.run_until_idle(_UntilDropped(outbox))
    journal.close()
    with couriers() as after_it:
        after_it.step_all()
    backend = MemoryBackend()
    drain(Sync(outbox, backend, FakeClock()))
    arrived = [record.kind for record in backend.records("run_1")]
    assert (arrived.count(RecordKind.METRIC), arrived.count(RecordKind.FILE)) == (17, 1)
    assert list(outbox.glob("*.damaged")) == []


def test_limits_come_from_the_environment_and_are_checked() -> None:
    said = {
        "FLASHTRIAL_SEGMENT_BYTES": "2048",
        "FLASHTRIAL_OUTBOX_BYTES": "65536",
        "FLASHTRIAL_WHEN_FULL": "raise",
    }
    assert resolve(None, said).limits == OutboxLimits(2048, 65536, WhenFull.RAISE)
    with pytest.raises(ConfigurationError, match="FLASHTRIAL_OUTBOX_BYTES is a number of bytes, not 'much'"):
        resolve(None, {"FLASHTRIAL_OUTBOX_BYTES": "much"})


def _both(outbox: Path, configured: frozenset[str] | None = None) -> tuple[Sync, MemoryBackend, Sync, MemoryBackend]:
    """Our server and another destination, which is down."""

    def down(_batches: object) -> None:
        raise Outage("down")

    state = OutboxState(outbox, FakeClock())
    find = Destinations(configured)
    native, other = MemoryBackend(), MemoryBackend(name="mlflow", before=down)
    routes = [Route(Destination(name), find) for name in ("native", "mlflow")]
    syncs = [
        Sync(outbox, backend, FakeClock(), route=route, state=state)
        for backend, route in zip((native, other), routes, strict=True)
    ]
    return syncs[0], native, syncs[1], other


def _journal_for_both(outbox: Path) -> Journal:
    header = JournalHeader("run_1", "wr_1", {"backends": ["native", "mlflow"]})
    return Journal.create(outbox, header, SMALL)


def test_a_destination_that_is_down_holds_up_no_other_and_no_segment_is_removed_before_it_has_it(outbox: Path) -> None:
    journal = _journal_for_both(outbox)
    append(journal, count=12)
    journal.close()
    native, stored, other, late = _both(outbox)
    for _ in range(3):
        other.step()
        drain(native)
    assert seqs(stored) == list(range(1, 13))
    assert list_segments(outbox)["wr_1"][0] == 1
    late.before = lambda _batches: None
    other.last_round()
    drain(native)
    assert seqs(late) == list(range(1, 13))
    assert list_segments(outbox) == {}


def test_a_destination_that_the_user_took_out_holds_no_segment_of_the_dead_back(outbox: Path) -> None:
    journal = _journal_for_both(outbox)
    append(journal, count=12)
    native, stored, _, _ = _both(outbox, frozenset({"native"}))
    drain(native)
    assert list_segments(outbox)["wr_1"][0] == 1  # its writer lives, and its settings hold
    journal.close()
    drain(native)
    assert seqs(stored) == list(range(1, 13))
    assert list(outbox.iterdir()) == []


def test_staged_files_of_a_run_that_goes_to_another_server_only_go_with_its_journal(outbox: Path) -> None:
    header = JournalHeader("run_1", "wr_1", {"backends": ["mlflow"]})
    journal = Journal.create(outbox, header, SMALL)
    for number in range(3):
        staged = stage_bytes(outbox, str(number).encode())
        journal.append(RecordKind.FILE, {"name": "a", "sha256": staged.sha256, "size": 1, "staged": staged.ref}, 5)
        append(journal, count=4)
    route = Route(Destination("mlflow"), WithFiles(Destinations(), outbox))
    sync = Sync(outbox, MemoryBackend(name="mlflow"), FakeClock(), route=route)
    drain(sync)
    assert len(list(files_dir(outbox).iterdir())) < 6, "what is in closed segments is gone with them"
    journal.close()
    drain(sync)
    assert list(files_dir(outbox).iterdir()) == []
    with contextlib.closing(Couriers(outbox, outbox.parent, {}, SystemClock(), Destinations())):
        pass
    assert list(outbox.iterdir()) == []


def test_files_of_a_journal_are_waited_for_from_the_first_look_on(outbox: Path) -> None:
    """Whoever removes journals may ask before anybody has seen that there are files."""
    find = WithFiles(Destinations(), outbox)
    header = JournalHeader("run_1", "wr_1", {})
    assert {each.name for each in find(header, False)} == {"native"}
    stage_bytes(outbox, b"hello")
    assert {each.name for each in find(header, False)} == {"native", "files"}
    assert find.have_appeared()


def test_our_own_server_can_be_given_up_too(outbox: Path) -> None:
    journal = _journal_for_both(outbox)
    append(journal, count=12)
    native, stored, other, late = _both(outbox, frozenset({"mlflow"}))
    late.before = lambda _batches: None
    drain(other)
    assert list_segments(outbox)["wr_1"][0] == 1  # its writer lives, and its settings hold
    journal.close()
    drain(native)
    drain(other)
    assert seqs(late) == list(range(1, 13))
    assert stored.requests == 0
    assert list(outbox.iterdir()) == []


def test_records_refused_by_one_destination_are_on_its_own_list(outbox: Path) -> None:
    journal = _journal_for_both(outbox)
    append(journal, count=3)
    journal.close()
    native, _, other, late = _both(outbox)
    late.before = lambda _batches: None
    late.refuses = lambda record: "no" if record.seq == 2 else None
    drain(other)
    drain(native)
    assert dead_path(outbox, "wr_1", "mlflow").exists()
    assert not dead_path(outbox, "wr_1", "native").exists()
