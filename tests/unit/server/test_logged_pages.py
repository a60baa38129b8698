"""A series read page by page, as it was logged: every point once, whatever is sealed, late or went back."""

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashtrial.core import sqlite
from flashtrial.server.schema import MIGRATIONS
from flashtrial.server.storage.columns import columns_of
from flashtrial.server.storage.logged import BEGINNING, Mark, logged_page
from flashtrial.server.storage.point_store import BLOCK_POINTS, Tail, append, seal

pytestmark = pytest.mark.unit

SERIES = 7


@contextlib.contextmanager
def database() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        sqlite.migrate(connection, MIGRATIONS)
        yield connection


def log(connection: sqlite3.Connection, writer: int, seqs: list[int]) -> None:
    append(connection, Tail(SERIES, writer), columns_of((seq, 100 - seq, 1000 + seq, seq / 4) for seq in seqs))


def pages(connection: sqlite3.Connection, limit: int) -> list[list[tuple[int, float]]]:
    """(step, value) of each page's points."""
    found = []
    mark: Mark | None = BEGINNING
    while mark is not None:
        page, mark = logged_page(connection, SERIES, mark, limit)
        found.append(list(zip(page.steps.tolist(), page.values.tolist(), strict=True)))
    return found


arrivals = st.lists(st.tuples(st.integers(1, 3), st.sets(st.integers(1, 60), min_size=1), st.booleans()), max_size=8)


@settings(deadline=None, max_examples=30)
@given(arrivals, st.integers(1, 12))
def test_pages_hold_every_point_once_and_none_is_longer_than_asked(
    arrived: list[tuple[int, set[int], bool]], limit: int
) -> None:
    known: dict[int, set[int]] = {}
    with database() as connection:
        for writer, seqs, is_sealed in arrived:
            new = seqs - known.setdefault(writer, set())
            known[writer] |= new
            if new:
                log(connection, writer, sorted(new))
            if is_sealed:
                seal(connection, Tail(SERIES, writer))
        found = pages(connection, limit)
    everything = [(100 - seq, seq / 4) for writer in sorted(known) for seq in sorted(known[writer])]
    assert [point for page in found for point in page] == everything
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert len(found) == max(1, -(-len(everything) // limit))


def test_a_page_reads_no_more_blocks_than_it_touches_and_leaves_out_what_is_damaged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with database() as connection:
        log(connection, 1, list(range(1, 6 * BLOCK_POINTS + 1)))
        connection.execute("UPDATE blocks SET data = x'00' WHERE first_seq != ?", (2 * BLOCK_POINTS + 1,))
        page, mark = logged_page(connection, SERIES, Mark(1, 2 * BLOCK_POINTS + 1), 100)
        assert page.seqs.tolist() == list(range(2 * BLOCK_POINTS + 1, 2 * BLOCK_POINTS + 101))
        assert mark == Mark(1, 2 * BLOCK_POINTS + 101)
        assert not caplog.records
        page, mark = logged_page(connection, SERIES, mark, BLOCK_POINTS)
        assert (page.seqs.tolist(), mark) == (list(range(2 * BLOCK_POINTS + 101, 3 * BLOCK_POINTS + 1)), None)
        assert len(caplog.records) == 3
