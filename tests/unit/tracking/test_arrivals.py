"""What is said of records from what lies on the disk: at each destination, refused, dropped, gone."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashtrial.protocol.records import JournalHeader
from flashtrial.tracking.journal.outbox import Journal, cursor_path, dead_path, lock_path
from flashtrial.tracking.journal.progress import (
    Cursor,
    DeadRecord,
    DroppedRecords,
    SyncStatus,
    append_dead,
    append_dropped,
    dropped_path,
    write_cursor,
    write_status_if_possible,
)
from flashtrial.tracking.journal.routes import Destination
from flashtrial.tracking.runs.arrivals import NOBODY, Arrival, Delivery, wait_for_delivery
from flashtrial.tracking.runs.delivery import FinishReport

pytestmark = pytest.mark.unit

WRITER = "wr_1"
NATIVE, MLFLOW = Destination("native", "http://one"), Destination("mlflow")
BOTH = [NATIVE, MLFLOW]
FOREVER_S = 1e6


@pytest.fixture(autouse=True)
def journal(outbox: Path) -> Iterator[Journal]:
    journal = Journal.create(outbox, JournalHeader("run_1", WRITER, {}))
    yield journal
    journal.close()


@pytest.fixture
def sync_process(outbox: Path) -> Iterator[None]:
    """As far as others can see: somebody holds the outbox."""
    with lock_path(outbox).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def settle(outbox: Path, name: str, seq: int) -> None:
    write_cursor(cursor_path(outbox, WRITER, name), Cursor(seq * 10, seq))


def say(outbox: Path, **outages: str) -> None:
    names = {"native": str(NATIVE), "other": "native http://other", "mlflow": "mlflow"}
    said = {names[name]: reason for name, reason in outages.items()}
    write_status_if_possible(outbox, SyncStatus(1, None, 0, said))


def look(outbox: Path, destinations: list[Destination]) -> Delivery:
    return wait_for_delivery(outbox, {WRITER: 10}, destinations, 0.0, lambda: None)


def report(delivery: Delivery) -> str:
    told = FinishReport(
        run_id="r",
        url="u",
        status="finished",  # type: ignore[arg-type]
        written=10,
        sent=delivery.sent,
        refused=delivery.refused,
        pending=delivery.pending,
        lost=0,
        outage=delivery.outage,
        dropped=delivery.dropped,
        arrivals=delivery.arrivals,
    )
    return str(told)


def test_sent_is_what_every_destination_has(outbox: Path) -> None:
    settle(outbox, "native", 10)
    settle(outbox, "mlflow", 4)
    delivery = look(outbox, BOTH)
    assert delivery.arrivals == (Arrival("native", 10, 0, 0), Arrival("mlflow", 4, 0, 6))
    assert (delivery.sent, delivery.pending) == (4, 6)
    assert report(delivery) == (
        "run r finished: native: 10 of 10 records sent; mlflow: 4 of 10 records sent, 6 wait on this disk; u"
    )
    settle(outbox, "mlflow", 10)
    assert report(look(outbox, BOTH)) == "run r finished: 10 of 10 records sent to native and mlflow; u"


def test_a_run_that_goes_elsewhere_alone_waits_for_nothing_of_ours(outbox: Path) -> None:
    settle(outbox, "mlflow", 10)
    assert look(outbox, [MLFLOW]) == Delivery((Arrival("mlflow", 10, 0, 0),), 10, 0, 0)


def test_a_record_that_two_destinations_refuse_is_one(outbox: Path) -> None:
    settle(outbox, "native", 5)
    settle(outbox, "mlflow", 8)
    for name, seqs in {"native": (3,), "mlflow": (3, 7)}.items():
        dead = [DeadRecord("run_1", WRITER, seq, "why", 0, b"") for seq in seqs]
        append_dead(dead_path(outbox, WRITER, name), dead)
    delivery = look(outbox, BOTH)
    assert delivery.arrivals == (Arrival("native", 4, 1, 5), Arrival("mlflow", 6, 2, 2))
    assert (delivery.sent, delivery.refused, delivery.pending) == (4, 2, 4)


def test_what_a_full_outbox_dropped_was_not_sent(outbox: Path) -> None:
    append_dropped(dropped_path(outbox, WRITER), DroppedRecords("run_1", 1, "system", 3, 2, 6))
    assert (look(outbox, [NATIVE]).pending, look(outbox, [NATIVE]).dropped) == (7, 3)
    settle(outbox, "native", 10)
    delivery = look(outbox, [NATIVE])
    assert (delivery.sent, delivery.pending, delivery.dropped) == (7, 0, 3)
    assert "3 were dropped, since the outbox was full" in report(delivery)


@pytest.mark.parametrize("leftover", ["native.dead", "dropped"])
def test_a_journal_that_is_gone_was_sent_whatever_lies_beside_it(outbox: Path, leftover: str, journal: Journal) -> None:
    journal.path.unlink()
    (outbox / f"{WRITER}.{leftover}").touch()
    assert (look(outbox, [NATIVE]).sent, look(outbox, [NATIVE]).pending) == (10, 0)


def test_a_journal_that_was_set_aside_as_damaged_was_not_sent(outbox: Path, journal: Journal) -> None:
    journal.path.rename(f"{journal.path}.damaged")
    assert look(outbox, [NATIVE]).pending == 10


@pytest.mark.usefixtures("sync_process")
def test_an_outage_is_that_of_the_server_that_is_meant(outbox: Path) -> None:
    say(outbox, other="theirs", mlflow="down")
    delivery = look(outbox, BOTH)
    assert [each.outage for each in delivery.arrivals] == [None, "down"]
    say(outbox, native="ours")
    assert look(outbox, BOTH).outage == "ours"


@pytest.mark.usefixtures("sync_process")
def test_an_outage_tells_no_password_of_an_address(outbox: Path) -> None:
    say(outbox, mlflow="https://joe:p@ss@host/x?at=a@b cannot be reached")
    assert look(outbox, BOTH).outage == "https://host/x?at=a@b cannot be reached"


def test_what_a_sync_process_said_before_it_died_is_no_news(outbox: Path) -> None:
    say(outbox, native="down")
    assert look(outbox, [NATIVE]).outage is None


@pytest.mark.usefixtures("sync_process")
def test_who_is_out_takes_no_time_of_those_who_are_not(outbox: Path) -> None:
    say(outbox, mlflow="down")
    looks = iter(range(1, 11))

    def send_one() -> None:
        settle(outbox, "native", next(looks))

    delivery = wait_for_delivery(outbox, {WRITER: 10}, BOTH, FOREVER_S, send_one, patience_s=0.0, look_every_s=0.0)
    assert delivery.arrivals == (Arrival("native", 10, 0, 0), Arrival("mlflow", 0, 0, 10, "down"))


def test_nobody_who_sends_is_said_after_a_while(outbox: Path) -> None:
    delivery = wait_for_delivery(outbox, {WRITER: 10}, [NATIVE], 0.05, lambda: None, patience_s=0.01)
    assert delivery.outage == NOBODY
