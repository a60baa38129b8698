"""An outbox of the test's own, and writers for it that do not die by themselves."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flashtrial.protocol.records import JournalHeader
from flashtrial.tracking.outbox import Journal

JournalMaker = Callable[[str], Journal]


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    path = tmp_path / "outbox"
    path.mkdir()
    return path


@pytest.fixture
def new_journal(outbox: Path) -> Iterator[JournalMaker]:
    """Makes journals of run ``run_1``, by writer id; all are closed at the end."""
    made: list[Journal] = []

    def make(writer_id: str = "wr_1") -> Journal:
        made.append(Journal.create(outbox, JournalHeader("run_1", writer_id, {})))
        return made[-1]

    yield make
    for journal in made:
        journal.close()
